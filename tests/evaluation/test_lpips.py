from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import lpips
import pytest
import torch
import torchvision
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from slotcli.codecs.perceptual import TRUNK_FILES, Trunk
from slotcli.errors import DataError, NoInputError, UnavailableError
from slotcli.evaluation import perceptual
from slotcli.evaluation.perceptual import Lpips, open_lpips

CPU = torch.device("cpu")
# The layers of torchvision's networks that LPIPS looks at, without the heavy ones behind them.
FEATURES: dict[Trunk, Callable[[], nn.Module]] = {
    "vgg": lambda: make_layers(cfgs["D"]),
    "alex": lambda: torchvision.models.alexnet(num_classes=1).features,
    "squeeze": lambda: torchvision.models.squeezenet1_1(num_classes=1).features,
}
BUILDERS: dict[Trunk, str] = {"vgg": "vgg16", "alex": "alexnet", "squeeze": "squeezenet1_1"}


def _random(trunk: Trunk, path: Path) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        features = FEATURES[trunk]()
    torch.save({f"features.{name}": value for name, value in features.state_dict().items()}, path)
    return features


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    x, noise = torch.rand((2, 5, 3, 40, 33), generator=generator) * 2 - 1
    return x, (x + 0.3 * noise).clamp(-1, 1)


@pytest.fixture
def squeeze(tmp_path: Path) -> Lpips:
    _random("squeeze", tmp_path / "squeeze.pth")
    return open_lpips("squeeze", tmp_path / "squeeze.pth", CPU)


@pytest.mark.parametrize("trunk", TRUNK_FILES)
def test_distance_is_that_of_the_lpips_package(
    trunk: Trunk, images, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own module gets the random trunk in torchvision's place; ours reads it from the cache."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    features = _random(trunk, tmp_path / "checkpoints" / TRUNK_FILES[trunk])
    monkeypatch.setattr(
        torchvision.models, BUILDERS[trunk], lambda pretrained: SimpleNamespace(features=features)
    )
    theirs = lpips.LPIPS(net=trunk, verbose=False)(*images).detach()
    monkeypatch.undo()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    ours = open_lpips(trunk, None, CPU)
    assert theirs.min() > 1e-4
    assert ours(*images) == pytest.approx(float(theirs.mean()), rel=1e-6)
    assert not ours.published


def test_distance_from_itself_is_nothing_and_the_range_is_clamped(squeeze: Lpips, images) -> None:
    x, y = images
    assert squeeze(x, x) == 0
    assert squeeze(x, y) > 0
    assert squeeze(x, y) == pytest.approx(squeeze(y, x))
    white = torch.ones_like(x)
    assert squeeze(white, 3 * white) == 0


def test_batches_change_nothing(squeeze: Lpips, images, monkeypatch: pytest.MonkeyPatch) -> None:
    at_once = squeeze(*images)
    monkeypatch.setattr(perceptual, "FRAMES", 2)
    assert squeeze(*images) == pytest.approx(at_once, rel=1e-5)


@pytest.mark.parametrize("trunk", TRUNK_FILES)
def test_the_smallest_pictures_reach_the_deepest_layer(trunk: Trunk, tmp_path: Path) -> None:
    _random(trunk, tmp_path / "weights.pth")
    side = perceptual.SMALLEST_SIDE
    distance = open_lpips(trunk, tmp_path / "weights.pth", CPU)
    black, white = torch.zeros(1, 3, side, side), torch.ones(1, 3, side, side)
    assert distance(black, white) > 0


def test_published_weights_are_known_by_their_hash(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "weights.pth"
    _random("squeeze", path)
    monkeypatch.setattr(perceptual, "file_sha256", lambda path: "b8a52dc0" + 56 * "0")
    assert open_lpips("squeeze", path, CPU).published


def test_missing_weights_are_named_and_nothing_is_downloaded(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", pytest.fail)
    with pytest.raises(UnavailableError, match="alexnet-owt-7be5be79") as caught:
        open_lpips("alex", None, CPU)
    assert "--lpips-weights" in caught.value.advice
    with pytest.raises(NoInputError, match="elsewhere"):
        open_lpips("alex", tmp_path / "elsewhere.pth", CPU)


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    _random("alex", path)
    with pytest.raises(DataError, match="trunk \\(squeeze\\)"):
        open_lpips("squeeze", path, CPU)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(DataError, match="weights"):
        open_lpips("alex", path, CPU)
