import torch

from slotcli.data.clip_cache import ClipCache, concatenate, cut_window
from slotcli.types import Clip


def clip(value: int, frames: int = 1, *, labels: bool = True) -> Clip:
    """10 x 10 pixels: 300 bytes a frame, 400 with labels."""
    ids = torch.full((frames, 10, 10), value, dtype=torch.uint8)
    return Clip(ids[:, None].repeat(1, 3, 1, 1), ids if labels else None)


def test_the_least_recently_used_go_first_and_labels_count():
    cache: ClipCache[str] = ClipCache(1200)
    for name, value in [("a", 1), ("b", 2), ("c", 3)]:
        cache.put(name, clip(value))
    assert cache.get("a") is not None
    cache.put("d", clip(4))
    assert cache.get("b") is None
    assert [cache.get(name) is not None for name in ("a", "c", "d")] == [True, True, True]


def test_one_clip_is_kept_however_large_it_is():
    cache: ClipCache[int] = ClipCache(0)
    cache.put(0, clip(1))
    cache.put(1, clip(2, frames=50))
    assert cache.get(0) is None
    kept = cache.get(1)
    assert kept is not None
    assert len(kept.frames) == 50


def test_joined_clips_have_labels_if_all_have_them():
    whole = concatenate([clip(1, 2), clip(2, 1)])
    assert whole.labels is not None
    assert whole.labels[:, 0, 0].tolist() == [1, 1, 2]
    assert whole.frames[:, 0, 0, 0].tolist() == [1, 1, 2]
    assert concatenate([clip(1), clip(2, labels=False)]).labels is None


def test_a_window_takes_every_so_many_frames():
    whole = concatenate([clip(value) for value in range(7)])
    part = cut_window(whole, 1, 3, 2)
    assert part.frames[:, 0, 0, 0].tolist() == [1, 3, 5]
    assert part.labels is not None
    assert part.labels[:, 0, 0].tolist() == [1, 3, 5]
