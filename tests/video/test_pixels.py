"""Conversion by planes against the packed one, for every layout of coded pixels and odd sizes."""

import av
import numpy as np
import pytest

from slotcli.video.pixels import EXACT, to_rgb


@pytest.mark.parametrize("size", [(48, 64), (47, 61), (2, 3), (1, 1)])
@pytest.mark.parametrize(
    "pixel_format",
    ["yuv420p", "yuvj422p", "yuv444p", "nv12", "yuyv422", "yuv420p10le", "p010le", "gray"],
)
def test_planes_give_the_colours_of_packed_pixels(pixel_format: str, size: tuple[int, int]) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
    frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format=pixel_format)
    packed = frame.reformat(format="rgb24", interpolation=EXACT, threads=1).to_ndarray()
    rgb, remarks = to_rgb(frame)
    assert (rgb.shape, rgb.dtype, remarks) == ((*size, 3), np.uint8, [])
    assert rgb.flags.c_contiguous
    # 4:2:0 is rounded once more on the way to packed pixels
    assert np.abs(rgb.astype(int) - packed).max() <= 1
    assert (rgb != packed).mean() < 0.01


@pytest.mark.parametrize("pixel_format", ["bgr24", "gbrp", "rgb48le"])
def test_rgb_stays_as_it_is(pixel_format: str) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (13, 17, 3), np.uint8)
    frame = av.VideoFrame.from_ndarray(picture, "rgb24").reformat(format=pixel_format)
    np.testing.assert_array_equal(to_rgb(frame)[0], picture)
