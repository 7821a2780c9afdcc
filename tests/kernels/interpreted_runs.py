"""Runs interpreted tests in children of a process that has loaded torch and Triton once.

Reads runs as JSON from stdin, one a line: the arguments of pytest, and the folder that holds the
slotcli to be tested. Answers each with its exit code and what it printed.
"""

import json
import os
import sys
from tempfile import TemporaryFile

import jaxtyping  # noqa: F401  for the children, as the next ones
import numpy as np  # noqa: F401
import pytest
import torch.fx.experimental.symbolic_shapes  # noqa: F401
import triton
import triton.language  # noqa: F401
from triton.runtime.cache import triton_key


def main() -> None:
    triton_key()  # hashes all of Triton, which each child would do again
    for line in sys.stdin:
        run = json.loads(line)
        with TemporaryFile() as said:
            pid = os.fork()
            if pid == 0:
                _run(run["arguments"], run["package"], said.fileno())
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            said.seek(0)
            told = said.read().decode(errors="replace")
        print(json.dumps({"code": code, "said": told}), flush=True)


def _run(arguments: list[str], package: str, said: int) -> None:
    os.dup2(said, 1)
    os.dup2(said, 2)
    os.chdir(package)
    sys.path[0] = package
    code = 70
    try:
        code = int(pytest.main(arguments))
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
