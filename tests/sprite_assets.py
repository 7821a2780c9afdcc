"""Two folders of drawn pictures, small enough to make within a test."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw


def make_assets(folder: Path, count: int = 30) -> tuple[Path, Path]:
    """Objects (PNG, WebP, one in a folder below) and photographs (noise), as two folders."""
    objects, photographs = folder / "objects", folder / "photographs"
    (objects / "more").mkdir(parents=True)
    photographs.mkdir()
    rng = np.random.default_rng(0)
    for number in range(count):
        image = Image.new("RGBA", (48, 40), (0, 0, 0, 0))
        colour = tuple(int(c) for c in rng.integers(0, 256, 3))
        ImageDraw.Draw(image).ellipse((4, 4, 30 + number % 12, 34), fill=(*colour, 255))
        image.save(
            objects
            / ("more" if number == 0 else "")
            / f"o{number}.{'png' if number % 2 else 'webp'}"
        )
        coarse = rng.integers(0, 256, (5, 6, 3)).astype(np.uint8)
        size = (96, 72) if number % 2 else (70, 100)
        Image.fromarray(coarse).resize(size).save(photographs / f"p{number}.png")
    return objects, photographs
