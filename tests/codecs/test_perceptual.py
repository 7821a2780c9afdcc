import pytest
import torch
import torch.nn.functional as F

from slotcli.codecs.perceptual import gradient_loss, lpips_vgg
from slotcli.errors import UnavailableError


def test_gradient_loss_ignores_brightness_and_punishes_blur() -> None:
    frames = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(
        gradient_loss(frames + 0.3, frames), torch.zeros(()), atol=1e-6, rtol=0
    )
    blurred = F.avg_pool2d(F.pad(frames, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    assert gradient_loss(blurred, frames) > 0.1


def test_gradient_loss_of_a_step_is_known() -> None:
    """A vertical edge of height 1 in 4 columns: one of 3 differences across, none along."""
    step = torch.zeros(1, 3, 4, 4)
    step[..., 2:] = 1
    torch.testing.assert_close(
        gradient_loss(step, torch.zeros_like(step), scales=1), torch.tensor(1 / 3)
    )


def test_missing_weights_are_named_and_nothing_is_downloaded(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UnavailableError, match="vgg16") as caught:
        lpips_vgg()
    assert "perceptual_weight" in caught.value.advice
