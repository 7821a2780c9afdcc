"""A run's figures, a row each: log.jsonl to be read by programs, log.csv by people."""

import csv
import json
from pathlib import Path
from typing import Any


class RunLog:
    """Appends rows; a resumed run drops the rows after the step it resumes from."""

    def __init__(self, folder: Path, columns: list[str], first_step: int) -> None:
        self._json = folder / "log.jsonl"
        self._csv = folder / "log.csv"
        self._columns = columns
        rows = []
        if self._json.exists():
            # A row cut short by a crash belongs to no saved state: its step is taken again.
            lines = self._json.read_text().splitlines(keepends=True)
            rows = [json.loads(line) for line in lines if line.endswith("\n")]
        self._json.write_text("")
        with self._csv.open("w", newline="") as file:
            csv.writer(file).writerow(columns)
        for row in rows:
            if row["step"] <= first_step:
                self.add(row)

    def add(self, row: dict[str, Any]) -> None:
        """One row; a figure that could not be computed is null, and empty in the CSV."""
        with self._json.open("a") as file:
            file.write(json.dumps(row) + "\n")
        with self._csv.open("a", newline="") as file:
            csv.writer(file).writerow([row.get(column) for column in self._columns])
