"""Several data sets as one, mixed in given fractions."""

from collections.abc import Sequence

from slotcli.data.dataset import Dataset
from slotcli.types import Clip

_CYCLE = 1000  # clips, in which every part has its fraction
_GOLDEN = 0.6180339887498949


class Mixture(Dataset):
    """Clips of several parts that take turns; a part with too few clips is repeated.

    Its length is the least at which every clip of every part comes up. `labelled` only where all
    parts are; clips of labelled parts have their labels in any case.
    """

    def __init__(self, parts: Sequence[Dataset], shares: Sequence[float]) -> None:
        self.parts = parts
        self.labelled = all(part.labelled for part in parts)
        self.remarks = [remark for part in parts for remark in part.remarks]
        self.passed_over = [file for part in parts for file in part.passed_over]
        self.unreadable = {path: why for part in parts for path, why in part.unreadable.items()}
        self._turns = _turns(shares)
        self._counts = [self._turns.count(part) for part in range(len(parts))]
        # The number of turns of the same part before each turn of the cycle.
        self._before = [self._turns[:turn].count(part) for turn, part in enumerate(self._turns)]

    def __len__(self) -> int:
        return 1 + max(self._index_of_last(part) for part in range(len(self.parts)))

    def name(self, index: int) -> str:
        part, turn = self._turn(index)
        within = turn % len(self.parts[part])
        again = turn // len(self.parts[part])
        name = f"part {part + 1}: {self.parts[part].name(within)}"
        return f"{name}, again {again}" if again else name

    def frames(self, index: int) -> int:
        part, within = self.locate(index)
        return self.parts[part].frames(within)

    def clip(self, index: int, start: int, length: int, stride: int = 1) -> Clip:
        part, within = self.locate(index)
        return self.parts[part].clip(within, start, length, stride)

    def locate(self, index: int) -> tuple[int, int]:
        """The part of a clip, and the clip's index in the part."""
        part, turn = self._turn(index)
        return part, turn % len(self.parts[part])

    def _index_of_last(self, part: int) -> int:
        """The index at which a part's last clip comes up first."""
        cycle, rank = divmod(len(self.parts[part]) - 1, self._counts[part])
        turns = [turn for turn, other in enumerate(self._turns) if other == part]
        return cycle * _CYCLE + turns[rank]

    def _turn(self, index: int) -> tuple[int, int]:
        cycle, turn = divmod(index, _CYCLE)
        part = self._turns[turn]
        return part, cycle * self._counts[part] + self._before[turn]


def _turns(shares: Sequence[float]) -> list[int]:
    """Parts by turn; any segment of turns has them in about their fractions."""
    turns: list[int] = []
    for turn in range(_CYCLE):
        position = (turn * _GOLDEN) % 1.0
        part = 0
        while part < len(shares) - 1 and position >= shares[part]:
            position -= shares[part]
            part += 1
        turns.append(part)
    return turns
