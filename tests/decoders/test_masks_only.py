"""No decoder: nothing is drawn, and that is said."""

import pytest
import torch

from slotcli.decoders.base import Decoder, RenderOptions
from slotcli.decoders.masks_only import MasksOnly
from slotcli.errors import UnavailableError


def test_it_has_masks_and_no_pictures() -> None:
    decoder = MasksOnly()
    assert isinstance(decoder, Decoder)
    assert not list(decoder.parameters())
    attention = torch.rand(2, 3, 4, 4).softmax(1)
    assert torch.equal(decoder.soft_masks(torch.rand(2, 3, 8), attention), attention)
    assert decoder.target(torch.rand(2, 3, 8, 8)).shape == (2, 0)
    with pytest.raises(UnavailableError, match="draws nothing"):
        decoder.render(torch.rand(2, 3, 8), RenderOptions())
