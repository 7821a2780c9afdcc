"""Rendered scenes as a data set."""

from pathlib import Path

from slotcli.data.clip_cache import cut_window
from slotcli.data.dataset import Dataset
from slotcli.data.scene_cache import Scene, SceneCache
from slotcli.errors import ConfigError
from slotcli.scenes import Rendered, render_clips
from slotcli.scenes.seeds import VALIDATION_SEEDS
from slotcli.spec import SynthSpec
from slotcli.types import Clip, Size

_RENDERED_TOGETHER = 16


class SynthDataset(Dataset):
    """Scenes rendered when they are first used, then kept in memory."""

    labelled = True

    def __init__(self, spec: SynthSpec, size: Size) -> None:
        total = sum(spec.mix.values())
        if abs(total - 1) > 1e-6:
            raise ConfigError(
                f"data.mix: shares add up to {total:g}, not 1.", "Correct the shares."
            )
        if spec.seed + spec.clips > VALIDATION_SEEDS:
            raise ConfigError(
                f"data.seed: seeds from {VALIDATION_SEEDS} on are kept for evaluation.",
                "Choose a smaller seed.",
            )
        self.spec = spec
        self.size = size
        self.rendered: Rendered | None = None  # called as clips are rendered
        self._clips: dict[int, Clip] = {}
        self._kept = None if spec.cache is None else SceneCache(Path(spec.cache))

    def __len__(self) -> int:
        return self.spec.clips

    def name(self, index: int) -> str:
        return f"{self.tier(index)}-{self.spec.seed + index}"

    def frames(self, index: int) -> int:
        return self.spec.frames

    def tier(self, index: int) -> str:
        """The tier of a clip; any segment of indices has the tiers in the mix's proportions."""
        position = (index * 0.6180339887498949) % 1.0
        for tier, share in self.spec.mix.items():
            position -= share
            if position < 0:
                return tier
        return next(reversed(self.spec.mix))

    def clip(self, index: int, start: int, length: int, stride: int = 1) -> Clip:
        if self._kept is not None:
            if not self._kept.has(self._scene(index)):
                self._render_with(index)
            return self._kept.cut_window(self._scene(index), start, length, stride)
        if index not in self._clips:
            self._render_with(index)
        return cut_window(self._clips[index], start, length, stride)

    def _scene(self, index: int) -> Scene:
        return Scene(self.tier(index), self.spec.seed + index, self.spec.frames, self.size)

    def _is_there(self, index: int) -> bool:
        if self._kept is None:
            return index in self._clips
        return self._kept.has(self._scene(index))

    def _render_with(self, index: int) -> None:
        """Renders a clip and the next few of its tier: their physics costs little more than one."""
        tier = self.tier(index)
        together = [
            other
            for other in range(index, len(self))
            if self.tier(other) == tier and not self._is_there(other)
        ][: _RENDERED_TOGETHER if self._kept is None else 1]  # other processes render the rest
        seeds = [self.spec.seed + other for other in together]
        there = len(self._clips)

        def rendered(done: int, total: int) -> None:
            if self.rendered is not None:
                self.rendered(there + done, len(self))

        batch = render_clips(seeds, tier, self.spec.frames, self.size, rendered=rendered)
        for row, other in enumerate(together):
            labels = None if batch.labels is None else batch.labels[row]
            clip = Clip(batch.frames[row], labels)
            if self._kept is None:
                self._clips[other] = clip
            else:
                self._kept.put(self._scene(other), clip)
