"""The summary of a batch that several runs share."""

import json
import subprocess
from pathlib import Path

from warm_process import warm_python

_WRITE = """
import sys
from pathlib import Path
from slotcli.decomposition.summary import write_summary
print("ready", flush=True)
sys.stdin.readline()
for _ in range(60):
    write_summary(Path(sys.argv[1]), [])
"""


def test_runs_that_end_together_do_not_write_into_each_others_summary(tmp_path: Path) -> None:
    command = [*warm_python(), "-c", _WRITE, str(tmp_path)]
    runs = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for run in runs:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
    for run in runs:
        assert run.stdin is not None
        run.stdin.write("\n")
        run.stdin.flush()
    for run in runs:
        run.communicate()
    assert [run.returncode for run in runs] == [0, 0, 0]
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "index.html",
        "summary.csv",
        "summary.json",
    ]
    assert json.loads((tmp_path / "summary.json").read_text())["clips"] == []
