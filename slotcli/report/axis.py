"""Axes of curves: range, ticks, and formatting of their numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

_MARGIN = 0.05  # fraction of the range that stays free above and below the values
_LEAST_MARGIN = 0.01  # fraction of the values: smaller ranges would have equal tick labels
_DECADE = 10
_LEAST_LOGARITHMIC = 1e-100  # below, floats have too few digits for ratios


@dataclass(frozen=True)
class Axis:
    """An axis from `low` to `high`; both are above 0 if it is `logarithmic`."""

    low: float
    high: float
    logarithmic: bool = False

    def position(self, value: float | int) -> float:
        """Relative position of a value: 0 at `low`, 1 at `high`, outside [0, 1] beyond them."""
        low, high = self._scaled(self.low), self._scaled(self.high)
        return (self._scaled(value) - low) / (high - low)

    def ticks(self, wanted: int) -> list[float]:
        """Round numbers within the range: about `wanted`, at least one."""
        if not self.logarithmic:
            return _multiples(self.low, self.high, (self.high - self.low) / wanted)
        first, last = math.floor(math.log10(self.low)), math.ceil(math.log10(self.high))
        powers = [10.0**power for power in range(first, last + 1)]
        decades = self._within(powers)
        if len(decades) > 1:
            return decades[:: -(-len(decades) // wanted)]
        finer = self._within([digit * power for power in powers for digit in (1, 2, 5)])
        if len(finer) > 1:
            return finer
        return _multiples(self.low, self.high, (self.high - self.low) / wanted)

    def _within(self, ticks: list[float]) -> list[float]:
        return [tick for tick in ticks if self.low <= tick <= self.high]

    def _scaled(self, value: float | int) -> float:
        # Values without a logarithm lie below all others.
        return math.log10(max(value, 1e-300)) if self.logarithmic else float(value)


def axis_of(
    values: Sequence[float | int],
    *,
    logarithmic: bool = False,
    span: tuple[float, float] | None = None,
) -> Axis:
    """An axis that fits all finite values and includes all of `span`.

    It is logarithmic only if requested, all values are above 0, and they span a decade.
    """
    shown = [float(value) for value in (*values, *(span or ()))]
    low, high = min(shown, default=0.0), max(shown, default=1.0)
    if logarithmic and low > _LEAST_LOGARITHMIC and high >= _DECADE * low:
        room = (high / low) ** _MARGIN
        return Axis(low / room, high * room, logarithmic=True)
    room = max(_MARGIN * (high - low), _LEAST_MARGIN * max(-low, high)) or 1.0
    return Axis(low - room, high + room)


def format_number(value: float | int) -> str:
    """Formats a number for an axis: 0.5, 8000, 200k, 1.5M, 4e-4."""
    size = abs(value)
    if size >= 999_950:
        return f"{value / 1e6:.4g}M"
    if size >= 9_999.5:
        return f"{value / 1e3:.4g}k"
    if 0 < size < 1e-3:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    return f"{value:.4g}"


def _multiples(low: float, high: float, least: float) -> list[float]:
    """Multiples, in a range, of the first of 1, 2, 5, 10, ... that is at least `least`."""
    unit = 10.0 ** math.floor(math.log10(least))
    step = next(digit * unit for digit in (1, 2, 5, 10) if digit * unit >= least * (1 - 1e-9))
    while True:
        found = [
            index * step for index in range(math.ceil(low / step), math.floor(high / step) + 1)
        ]
        if found:
            return found
        step /= 2
