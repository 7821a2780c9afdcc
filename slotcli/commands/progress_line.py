"""A progress display of one line, whose content depends on the width of the terminal."""

from collections.abc import Iterable

from rich.cells import cell_len, set_cell_size
from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    Task,
    TaskID,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

_REDRAWN = 8  # times per second
_BAR = (8, 40)  # cells: the narrowest and the widest bar
_SPINNER = 2  # cells, with the space after it
_SHORTEST = 4  # cells of the phase; with less room its count is left out


class ProgressLine(Progress):
    """The current phase, its count, its times, its rate and a bar, most important first.

    It leaves the screen when it is stopped. Every phase keeps its own count and clock.
    """

    def __init__(self, console: Console) -> None:
        self._current: Task | None = None
        # Results written to stdout while the line is shown must not end up on stderr.
        super().__init__(
            console=console, transient=True, redirect_stdout=False, refresh_per_second=_REDRAWN
        )
        self._ascii = not console.encoding.startswith("utf")
        self._spinner = SpinnerColumn("line" if self._ascii else "dots")
        self._bar = BarColumn()
        self._count = MofNCompleteColumn()
        self._elapsed = TimeElapsedColumn()
        self._left = TimeRemainingColumn(compact=True)
        self._phases: dict[str, TaskID] = {}

    def turn_to(self, phase: str, unit: str) -> None:
        """Shows a phase, with its previous count if it was shown before."""
        if phase not in self._phases:
            self._phases[phase] = self.add_task(phase, total=None, unit=unit, facts="")
        with self._lock:
            before, after = self._current, self._tasks[self._phases[phase]]
        # Never with the lock held: the redrawing thread takes its own lock first, then this one.
        if before is not after:
            self.refresh()  # with the last count of the previous phase
            self._current = after
            self.refresh()

    def count(self, done: int, total: int | None, facts: str) -> None:
        """Updates the current phase; a total that was exceeded is treated as unknown."""
        with self._lock:
            if self._current is None:
                return
            if total is None or done > total:
                self._current.total = total = None
            self.update(self._current.id, completed=done, total=total, facts=facts)

    def make_tasks_table(self, tasks: Iterable[Task]) -> Table:
        """The one line of the current phase."""
        table = Table.grid(padding=(0, 1, 0, 0))
        if self._current is not None:
            table.add_row(*self._cells(self._current, self.console.width - 1))
        return table

    def _cells(self, task: Task, width: int) -> list[RenderableType]:
        """The parts that fit into `width`; the count is kept longest, then the phase."""
        counted = task.total is not None or task.completed > 0
        count = self._count.render(task) if counted else Text()
        rate, left = _rate(task), Text()
        if task.total and task.time_remaining:
            left = Text.assemble(self._left.render(task), " left")
        facts = Text(task.fields["facts"])
        room = width - _SPINNER
        counted = counted and room - _taken(count) >= _SHORTEST
        room -= _taken(count) if counted else 0
        phase = min(cell_len(task.description), max(_SHORTEST, width // 3), max(0, room))
        room -= phase
        shown: dict[int, Text] = {}
        wanted = {1: self._elapsed.render(task), 3: rate, 4: facts, 2: left}
        for place, text in wanted.items():
            if text and _taken(text) <= room:
                shown[place] = text
                room -= _taken(text)
        more = max(0, min(cell_len(task.description) - phase, room))
        phase, room = phase + more, room - more
        cells: list[RenderableType] = [self._spinner.render(task), self._shortened(task, phase)]
        if counted and room > _BAR[0]:
            self._bar.bar_width = min(_BAR[1], room - 1)
            cells.append(self._bar.render(task))
        if counted:
            cells.append(count)
        return cells + [shown[place] for place in sorted(shown)]

    def _shortened(self, task: Task, width: int) -> Text:
        text = task.description
        if cell_len(text) > width:
            end = "" if self._ascii else "…"
            text = set_cell_size(text, max(0, width - len(end))) + end
        return Text(text, no_wrap=True)


def _taken(text: Text) -> int:
    """Cells of a text, with the space before it."""
    return text.cell_len + 1 if text else 0


def _rate(task: Task) -> Text:
    speed = task.finished_speed or task.speed
    if not speed or not task.fields["unit"]:
        return Text()
    return Text(f"{speed:.{1 if speed >= 10 else 2}f} {task.fields['unit']}/s")
