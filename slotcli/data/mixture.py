"""Several data sets as one, each with its share of the clips."""

from collections.abc import Sequence

from slotcli.data.dataset import Dataset
from slotcli.types import Clip

_CYCLE = 1000  # clips, in which every part has its share
_GOLDEN = 0.6180339887498949


class Mixture(Dataset):
    """Clips of several parts that take turns; a part with too few for its share starts again.

    It has as many clips as it takes for every clip of every part to come up. `labelled` only where
    all parts are; clips of parts that have labels come with them in any case.
    """

    def __init__(self, parts: Sequence[Dataset], shares: Sequence[float]) -> None:
        self.parts = parts
        self.labelled = all(part.labelled for part in parts)
        self.remarks = [remark for part in parts for remark in part.remarks]
        self.passed_over = [file for part in parts for file in part.passed_over]
        self.unreadable = {path: why for part in parts for path, why in part.unreadable.items()}
        self._turns = _turns(shares)
        self._counts = [self._turns.count(part) for part in range(len(parts))]
        # How many turns of the same part come before each turn of the cycle.
        self._before = [self._turns[:place].count(part) for place, part in enumerate(self._turns)]

    def __len__(self) -> int:
        return 1 + max(self._index_of_last(part) for part in range(len(self.parts)))

    def name(self, index: int) -> str:
        part, turn = self._turn(index)
        within = turn % len(self.parts[part])
        again = turn // len(self.parts[part])
        name = f"part {part + 1}: {self.parts[part].name(within)}"
        return f"{name}, again {again}" if again else name

    def frames(self, index: int) -> int:
        part, place = self.place(index)
        return self.parts[part].frames(place)

    def clip(self, index: int, start: int, length: int, stride: int = 1) -> Clip:
        part, place = self.place(index)
        return self.parts[part].clip(place, start, length, stride)

    def place(self, index: int) -> tuple[int, int]:
        """Which part a clip is of, and its index there."""
        part, turn = self._turn(index)
        return part, turn % len(self.parts[part])

    def _index_of_last(self, part: int) -> int:
        """Where a part's last clip comes up first."""
        cycle, rank = divmod(len(self.parts[part]) - 1, self._counts[part])
        places = [place for place, turn in enumerate(self._turns) if turn == part]
        return cycle * _CYCLE + places[rank]

    def _turn(self, index: int) -> tuple[int, int]:
        cycle, place = divmod(index, _CYCLE)
        part = self._turns[place]
        return part, cycle * self._counts[part] + self._before[place]


def _turns(shares: Sequence[float]) -> list[int]:
    """Parts by turn, so that any stretch of turns has them in about their shares."""
    turns: list[int] = []
    for turn in range(_CYCLE):
        position = (turn * _GOLDEN) % 1.0
        part = 0
        while part < len(shares) - 1 and position >= shares[part]:
            position -= shares[part]
            part += 1
        turns.append(part)
    return turns
