"""A batch divided among processes, taken in parts, or whole: the same but for the noise."""

import json
import os
import socket
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import torch
from warm_process import warm_python

from slotcli.definition import spec_json
from slotcli.errors import UsageError
from slotcli.spec import CodecModelSpec, SlotModelSpec
from slotcli.training.parallel.peers import ALONE, Part, Peers

pytestmark = pytest.mark.slow

STEPS = {"slots": 8, "vqvae": 11, "dvae": 8, "savi": 6}  # codes of the VQ-VAE are moved twice
WITHOUT_NOISE = ("vqvae", "savi")


def started(specs: list[dict[str, Any]], environment: dict[str, str]) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [*warm_python(), str(Path(__file__).with_name("one_of_many.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )
    assert process.stdin is not None
    process.stdin.write(json.dumps(specs))
    process.stdin.close()
    process.stdin = None
    return process


def told(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return json.loads(out)


@pytest.fixture(scope="module")
def runs(
    tiny_slot_spec: SlotModelSpec,
    tiny_codec_spec: CodecModelSpec,
    tiny_dvae_spec: CodecModelSpec,
    system_specs: dict[str, SlotModelSpec],
) -> dict[str, dict[str, dict[str, Any]]]:
    """Steps of four tasks: by each of two processes, in two parts, and (without noise) whole."""
    given = (tiny_slot_spec, tiny_codec_spec, tiny_dvae_spec, system_specs["savi"])
    specs = dict(zip(STEPS, map(spec_json, given), strict=True))
    for name, values in specs.items():
        values["train"] |= {"batch_size": 4, "steps": STEPS[name]}
        # Relaxed codes take rounding up: at 1e-3 losses are apart by 1e-4 after 25 steps.
        values["train"] |= {"learning_rate": 1e-5 if name == "dvae" else 1e-3}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    both = [started(list(specs.values()), world | {"RANK": str(rank)}) for rank in range(2)]
    found = {
        f"rank {rank}": dict(zip(specs, told(process), strict=True))
        for rank, process in enumerate(both)
    }
    alone = started([specs[name] for name in WITHOUT_NOISE], {})
    for values in specs.values():
        values["train"] |= {"accumulate": 2}
    parts = started(list(specs.values()), {})
    return found | {
        "alone": dict(zip(WITHOUT_NOISE, told(alone), strict=True)),
        "parts": dict(zip(specs, told(parts), strict=True)),
    }


@pytest.mark.parametrize("name", STEPS)
def test_replicas_are_equal_to_the_bit_after_each_step(
    runs: dict[str, dict[str, dict[str, Any]]], name: str
) -> None:
    first, second = runs["rank 0"][name], runs["rank 1"][name]
    assert first["hashes"] == second["hashes"]
    assert len(set(first["hashes"])) == STEPS[name]
    assert first == second


@pytest.mark.parametrize(
    ("name", "one", "other"),
    [
        *((name, "parts", "rank 0") for name in STEPS),
        *((name, "alone", "rank 0") for name in WITHOUT_NOISE),
    ],
)
def test_a_division_changes_losses_by_rounding_only(
    runs: dict[str, dict[str, dict[str, Any]]], name: str, one: str, other: str
) -> None:
    losses = [runs[how][name]["losses"] for how in (one, other)]
    apart = [abs(a - b) for a, b in zip(*losses, strict=True)]
    print(f"{name}, {one} and {other}: {losses[0][-1]:.4f}, apart by {max(apart):.1e}")
    if name == "vqvae":
        # After the 5th step codes are moved onto latents, and then rounding decides between near
        # ones. Other latents would do more: in parts, where the last one's are taken, 1e-3.
        assert one == "parts" or max(apart) < 3e-4
        apart = apart[:5]
    assert max(apart) < 1e-5


def test_parts_and_steps_draw_different_numbers() -> None:
    rng, drawn = torch.Generator(), set()
    for index, step in product(range(16), range(8)):
        rng.manual_seed(Part(index, 16).seed(3, step))
        drawn.add(tuple(torch.rand(2, generator=rng).tolist()))
    assert len(drawn) == 16 * 8


def test_an_undivided_batch_draws_as_it_did_before_parts_had_seeds() -> None:
    """Older states resume to the bit."""
    assert Part().seed(7, 11) == 7 * 1_000_003 + 11


def test_parts_are_all_of_a_batch_in_order() -> None:
    batch = list(range(12))
    parts = [part for rank in range(3) for part in Peers(rank, 3).parts(12, 2)]
    assert [part.of(batch) for part in parts] == [[i, i + 1] for i in range(0, 12, 2)]
    assert Part().of(batch) == batch


@pytest.mark.parametrize(("size", "accumulate"), [(2, 1), (1, 2), (3, 3)])
def test_a_batch_that_cannot_be_divided_is_refused(size: int, accumulate: int) -> None:
    with pytest.raises(UsageError, match="batch_size 9" if size < 3 else "batch_size 15"):
        Peers(0, size).parts(9 if size < 3 else 15, accumulate)


def test_alone_everything_stays_as_it_is() -> None:
    rows, marks = torch.rand(3, 2), torch.tensor([True, False])
    assert ALONE.first
    assert ALONE.together(rows) is rows
    assert ALONE.union(marks) is marks
    assert (ALONE.mean([0.1]), ALONE.largest(3)) == ([0.1], 3)
