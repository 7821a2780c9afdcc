"""Clips over the workers of a Ray cluster, or of a local Ray that is started for the run."""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import Any

from slotcli.decomposition.batch import Outcome
from slotcli.decomposition.plan import PlannedClip
from slotcli.decomposition.worker import Work
from slotcli.errors import UnavailableError

_RESTARTS = 3  # of a worker that dies


class _Worker:
    """An actor, which loads the model once and then decomposes clip after clip."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._loaded = work.load()

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        clip = PlannedClip(Path(row["source"]), Path(row["result"]))
        (outcome,) = self._work.run(self._loaded, [clip], lambda *_: None)
        return {"index": row["index"], "outcome": json.dumps(outcome.as_dict())}


def run_on_ray(work: Work, clips: list[PlannedClip]) -> Iterator[Outcome]:
    """Yields the outcome of each clip when it is known; results equal those of the local engine.

    One worker per GPU, or as many as cores allow at `work.threads` each. A worker that dies is
    replaced, and its clip resumes from its journal. Sources and results have to be on disks that
    all workers see under the same paths. Raises UnavailableError without the extra [ray].
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # read when Ray is loaded
    try:
        import ray
        import ray.data
    except ImportError as error:
        raise UnavailableError(
            "--engine ray: Ray is not installed.", "Install it: pip install 'slotcli[ray]'"
        ) from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.init(ignore_reinit_error=True, log_to_driver=False, logging_level=logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    on_gpu = work.device.startswith("cuda")
    cores, gpus = (int(ray.cluster_resources().get(kind, 0)) for kind in ("CPU", "GPU"))
    workers = min(len(clips), max(1, gpus if on_gpu else cores // work.threads))
    rows = [
        {
            "index": index,
            "source": str(clip.source.resolve()),
            "result": str(clip.result.absolute()),
        }
        for index, clip in enumerate(clips)
    ]
    done = ray.data.from_items(rows, override_num_blocks=len(rows)).map(
        _Worker,  # pyright: ignore[reportArgumentType] # an actor's class may take what it likes
        fn_constructor_args=(replace(work, together=1),),
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=work.threads,
        num_gpus=1 if on_gpu else 0,
        # Without limits, a clip that kills every worker would be retried for ever.
        ray_remote_args_fn=lambda: {"max_restarts": _RESTARTS, "max_task_retries": _RESTARTS},
    )
    told = iter(done.iter_rows())
    try:
        while (row := _quietly(next, told, None)) is not None:
            yield Outcome.from_dict(clips[row["index"]], json.loads(row["outcome"]))
    finally:
        _quietly(ray.shutdown)


def _quietly(call: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function, with Ray's messages about its workers kept off stdout."""
    with redirect_stdout(sys.stderr):
        return call(*arguments)
