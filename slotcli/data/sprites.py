"""Sprite clips as a data set."""

from pathlib import Path

from slotcli.data.dataset import Dataset
from slotcli.spec import SpritesSpec
from slotcli.sprites.assets import open_objects, open_photographs
from slotcli.sprites.render import draw_scene, render
from slotcli.sprites.scene import Assets
from slotcli.types import Clip, Size

HELD_OUT_CLIPS = 64  # any number can be rendered; this many are reported


_HELD_OUT = 1  # separates their seeds from those of training


class Sprites(Dataset):
    """Clips rendered at each use, each a function of its seed alone.

    Held-out clips show other objects and photographs, from other seeds. Raises NoInputError,
    AccessError and DataError about the two folders.
    """

    labelled = True

    def __init__(self, spec: SpritesSpec, size: Size, *, held_out: bool = False) -> None:
        self.spec = spec
        self.size = size
        self._held_out = held_out
        self.assets = Assets(
            open_objects(Path(spec.objects), held_out=held_out),
            open_photographs(Path(spec.photographs), held_out=held_out),
        )

    def __len__(self) -> int:
        return HELD_OUT_CLIPS if self._held_out else self.spec.clips

    def name(self, index: int) -> str:
        kind = "held-out-sprites" if self._held_out else "sprites"
        return f"{kind}-{self.spec.seed + index}"

    def frames(self, index: int) -> int:
        return self.spec.frames

    def clip(self, index: int, start: int, length: int, stride: int = 1) -> Clip:
        seeds = [self.spec.seed + index, _HELD_OUT] if self._held_out else [self.spec.seed + index]
        scene = draw_scene(seeds, self.assets, self.spec.frames, self.size)
        return render(scene, range(start, start + length * stride, stride), self.size)
