"""Rendered scenes that are kept in a folder: the same clips, rendered once."""

from pathlib import Path

import pytest
import torch

from slotcli.data import rendered as rendered_scenes
from slotcli.data.rendered import SynthDataset
from slotcli.errors import CannotCreateError
from slotcli.spec import SynthSpec
from slotcli.types import Clip

SIZE = (16, 24)


def test_kept_clips_are_those_that_are_rendered_and_are_not_rendered_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = SynthSpec(mix={"A": 1.0}, clips=2, frames=4)
    rendered = SynthDataset(spec, SIZE).clip(1, 1, 2, 2)
    kept = spec.model_copy(update={"cache": str(tmp_path / "scenes")})
    assert_equal(SynthDataset(kept, SIZE).clip(1, 1, 2, 2), rendered)
    monkeypatch.setattr(rendered_scenes, "render_clips", None)
    assert_equal(SynthDataset(kept, SIZE).clip(1, 1, 2, 2), rendered)
    assert [path.suffix for path in (tmp_path / "scenes").iterdir()] == [".npy"]


def test_another_seed_length_size_or_tier_is_another_scene(tmp_path: Path) -> None:
    spec = SynthSpec(mix={"A": 1.0}, clips=1, frames=2, cache=str(tmp_path))
    for changed, size in (
        (spec, SIZE),
        (spec.model_copy(update={"seed": 5}), SIZE),
        (spec.model_copy(update={"frames": 3}), SIZE),
        (spec.model_copy(update={"mix": {"C": 1.0}}), SIZE),
        (spec, (24, 16)),
    ):
        before = len(list(tmp_path.iterdir()))
        clip = SynthDataset(changed, size).clip(0, 0, 2)
        assert clip.frames.shape == (2, 3, *size)
        assert len(list(tmp_path.iterdir())) == before + 1


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    spec = SynthSpec(mix={"A": 1.0}, clips=1, frames=2, cache=str(tmp_path / "file"))
    with pytest.raises(CannotCreateError):
        SynthDataset(spec, SIZE).clip(0, 0, 1)


def assert_equal(one: Clip, other: Clip) -> None:
    assert torch.equal(one.frames, other.frames)
    assert one.labels is not None
    assert other.labels is not None
    assert torch.equal(one.labels, other.labels)
