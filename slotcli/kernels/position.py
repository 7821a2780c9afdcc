"""Where a feature stands in its map, as the published models tell it to their networks."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from slotcli.types import Size


class PositionEmbedding(nn.Module):
    """Adds a linear map of (y, x, 1 - y, 1 - x), each from 0 to 1, to a feature map.

    Maps of another size than `size` get positions of their own, from 0 to 1 as well.
    """

    grid: Tensor

    def __init__(self, width: int, size: Size) -> None:
        super().__init__()
        # Whatever the rest is on: to do this to shapes alone torch loads its compiler, for seconds.
        self.register_buffer("grid", _grid(size, torch.device("cpu")), persistent=False)
        self.project = nn.Linear(4, width)

    def forward(self, features: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        size = features.shape[-2], features.shape[-1]
        grid = self.grid if self.grid.shape[:2] == size else _grid(size, features.device)
        return features + self.project(grid).permute(2, 0, 1)


def _grid(size: Size, device: torch.device) -> Float[Tensor, "h w 4"]:
    with torch.device(device):
        rows, columns = (torch.linspace(0, 1, steps) for steps in size)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        return torch.stack([y, x, 1 - y, 1 - x], dim=-1)
