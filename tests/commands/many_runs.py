"""Runs slotcli in children of a process that has loaded it once, so that many runs are quick.

Reads lists of jobs as JSON from stdin, one a line, prints what became of each job. A job is a list
of runs that are at work at the same time; a run has its arguments, and the seconds after which it
is killed.
"""

import json
import os
import signal
import sys
import time


def main() -> None:
    import slotcli.decomposition.worker  # for the children
    from slotcli import __main__ as slotcli
    from slotcli.decomposition.clip_encoder import ClipEncoder

    one_turn = ClipEncoder._one_turn
    turns = ""

    def counted(self, states, frames):
        with open(turns, "ab", buffering=0) as log:
            log.write(b"x" * frames.shape[0] * frames.shape[1])
        return one_turn(self, states, frames)

    ClipEncoder._one_turn = counted

    def start(run: dict) -> int:
        pid = os.fork()
        if pid:
            return pid
        signal.signal(signal.SIGINT, signal.default_int_handler)
        nonlocal turns
        turns = run.get("turns", os.devnull)
        os.environ |= run.get("environment", {})
        log = os.open(run["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(log, 1)
        os.dup2(log, 2)
        sys.argv = ["slotcli", *run["arguments"]]
        code = 1
        try:
            slotcli.main()
        except SystemExit as ended:
            code = ended.code or 0
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    for job in (job for line in sys.stdin for job in json.loads(line)):
        pids = [start(run) for run in job]
        begun = time.monotonic()
        for pid, run in zip(pids, job, strict=True):
            if "after" in run:
                time.sleep(max(0.0, begun + run["after"] - time.monotonic()))
                os.kill(pid, run["signal"])
        ended = [os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) for pid in pids]
        print(json.dumps({"codes": ended, "seconds": time.monotonic() - begun}), flush=True)


if __name__ == "__main__":
    main()
