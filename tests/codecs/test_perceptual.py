import pytest
import torch
import torch.nn.functional as F
from torchvision.models.vgg import cfgs, make_layers

from slotcli.codecs.perceptual import chroma, gradient_loss, lpips_vgg
from slotcli.errors import DataError, UnavailableError


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


def test_chroma_is_what_gray_lacks() -> None:
    gray = torch.rand(2, 1, 4, 4).expand(-1, 3, -1, -1)
    torch.testing.assert_close(chroma(gray), torch.zeros(2, 2, 4, 4), atol=1e-6, rtol=0)
    red = torch.tensor([1.0, 0, 0]).view(1, 3, 1, 1)
    torch.testing.assert_close(chroma(red).flatten(), torch.tensor([-0.168736, 0.5]))


def test_missing_weights_are_named_and_nothing_is_downloaded(
    tmp_path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UnavailableError, match="vgg16") as caught:
        lpips_vgg()
    assert "perceptual_weight" in caught.value.advice


def test_a_file_that_is_no_network_is_a_data_error(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    weights = tmp_path / "checkpoints/vgg16-397923af.pth"
    weights.parent.mkdir()
    weights.write_text("half a download")
    with pytest.raises(DataError, match="vgg16"):
        lpips_vgg()


def test_a_loaded_network_is_frozen_and_follows_the_frames(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    weights = tmp_path / "checkpoints/vgg16-397923af.pth"
    weights.parent.mkdir()
    layers = make_layers(cfgs["D"]).state_dict()
    torch.save({f"features.{name}": value for name, value in layers.items()}, weights)
    network = lpips_vgg()
    assert not any(p.requires_grad or p.is_meta for p in network.parameters())
    frames = torch.rand(1, 3, 32, 32, requires_grad=True)
    network(frames, torch.zeros(1, 3, 32, 32)).sum().backward()
    assert frames.grad is not None
    assert frames.grad.abs().max() > 0
