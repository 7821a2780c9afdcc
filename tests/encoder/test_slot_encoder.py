"""The encoder's scan over time, its position embedding and its predictor."""

import pytest
import torch
from torch import Tensor

from slotcli.encoder.backbone import CompactCnn, ResNet18
from slotcli.encoder.encoder import SlotEncoder
from slotcli.encoder.predictor import TransformerPredictor
from slotcli.types import SlotTrack

SIZE = (16, 24)


def make_encoder(
    *, iterations: int = 2, first_iterations: int = 3, warm_up: int = 0
) -> SlotEncoder:
    torch.manual_seed(0)
    return SlotEncoder(
        CompactCnn(8),
        TransformerPredictor(16, layers=2),
        size=SIZE,
        num_slots=4,
        slot_dim=16,
        iterations=iterations,
        first_iterations=first_iterations,
        warm_up=warm_up,
    ).eval()


@pytest.fixture
def frames() -> Tensor:
    return torch.rand(2, 7, 3, *SIZE, generator=torch.Generator().manual_seed(1)) * 2 - 1


@torch.no_grad()
@pytest.mark.parametrize("chunk", [1, 2, 7])
def test_a_clip_in_chunks_equals_the_clip_whole(frames: Tensor, chunk: int) -> None:
    encoder = make_encoder()
    whole = encoder(frames)
    state, tracks = None, list[SlotTrack]()
    for part in frames.split(chunk, dim=1):
        tracks.append(encoder(part, state))
        state = tracks[-1].slots[:, -1]
    slots = torch.cat([track.slots for track in tracks], dim=1)
    attention = torch.cat([track.attention for track in tracks], dim=1)
    torch.testing.assert_close(slots, whole.slots, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(attention, whole.attention, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(("warm_up", "ahead"), [(2, [2, 1]), (15, [6, 5, 4, 3, 2, 1])])
def test_a_warm_up_reads_the_next_frames_backwards_first(
    frames: Tensor, warm_up: int, ahead: list[int]
) -> None:
    encoder, plain = make_encoder(warm_up=warm_up), make_encoder()
    found = encoder(frames)
    wanted = plain(torch.cat([frames[:, ahead], frames], dim=1))
    torch.testing.assert_close(found.slots, wanted.slots[:, len(ahead) :], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(
        found.attention, wanted.attention[:, len(ahead) :], atol=1e-5, rtol=1e-5
    )
    assert (found.slots[:, 0] - plain(frames).slots[:, 0]).abs().max() > 1e-3
    first = encoder(frames[:, : warm_up + 1])
    rest = frames[:, warm_up + 1 :]
    if rest.shape[1]:
        later = encoder(rest, first.slots[:, -1])
        torch.testing.assert_close(later.slots, found.slots[:, warm_up + 1 :])


def test_there_is_no_warm_up_while_training_and_for_one_frame(frames: Tensor) -> None:
    encoder, plain = make_encoder(warm_up=2), make_encoder()
    assert torch.equal(encoder(frames).slots, plain(frames).slots)
    with torch.no_grad():
        assert torch.equal(encoder(frames[:, :1]).slots, plain(frames[:, :1]).slots)


@torch.no_grad()
def test_the_state_is_used_and_its_absence_means_a_new_clip(frames: Tensor) -> None:
    encoder = make_encoder()
    first = encoder(frames[:, :1])
    carried = encoder(frames[:, 1:2], first.slots[:, 0])
    anew = encoder(frames[:, 1:2])
    assert (carried.slots - anew.slots).abs().max() > 1e-2
    torch.testing.assert_close(anew.slots, encoder(frames[:, 1:2]).slots, rtol=0, atol=0)


@torch.no_grad()
def test_attention_lies_on_the_grid_and_sums_to_one_over_slots(frames: Tensor) -> None:
    track = make_encoder()(frames)
    assert track.slots.shape == (2, 7, 4, 16)
    assert track.attention.shape == (2, 7, 4, 8, 12)
    torch.testing.assert_close(track.attention.sum(2), torch.ones(2, 7, 8, 12))


def test_the_first_frame_alone_has_its_own_number_of_iterations(
    frames: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = make_encoder(iterations=1, first_iterations=3)
    asked: list[int] = []
    corrector = encoder.corrector.forward

    def spy(
        slots: Tensor,
        features: Tensor,
        statistics: tuple[Tensor, Tensor],
        iterations: int,
        bias: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        asked.append(iterations)
        return corrector(slots, features, statistics, iterations, bias)

    monkeypatch.setattr(encoder.corrector, "forward", spy)
    track = encoder(frames[:, :3])
    encoder(frames[:, 3:5], track.slots[:, -1])
    assert asked == [3, 1, 1, 1, 1]


@torch.no_grad()
def test_permuting_the_initial_slots_permutes_the_results(frames: Tensor) -> None:
    encoder, order = make_encoder(), torch.tensor([2, 0, 3, 1])
    before = encoder(frames)
    encoder.initial_slots.copy_(encoder.initial_slots[:, order])
    after = encoder(frames)
    torch.testing.assert_close(after.slots, before.slots[:, :, order], atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(after.attention, before.attention[:, :, order], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_clips_of_a_batch_do_not_touch_each_other(frames: Tensor) -> None:
    encoder = make_encoder()
    together = encoder(frames).slots
    torch.testing.assert_close(encoder(frames[1:]).slots[0], together[1], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_an_identity_start_returns_its_input() -> None:
    slots = torch.randn(2, 5, 16)
    predictor = TransformerPredictor(16, layers=2, identity_start=True).eval()
    torch.testing.assert_close(predictor(slots), slots, rtol=0, atol=0)
    usual = TransformerPredictor(16, layers=2).eval()
    assert (usual(slots) - slots).abs().max() > 0.1


def test_an_identity_start_learns() -> None:
    slots = torch.randn(2, 5, 16)
    predictor = TransformerPredictor(16, layers=1, identity_start=True).eval()
    (predictor(slots) ** 2).mean().backward()
    moved = [
        name for name, p in predictor.named_parameters() if p.grad is not None and p.grad.any()
    ]
    assert {name.rsplit(".", 1)[0].rsplit(".", 1)[-1] for name in moved} >= {"out_proj", "linear2"}


@torch.no_grad()
def test_backbones_have_the_stride_and_width_they_state() -> None:
    for backbone in (ResNet18(), CompactCnn(8)):
        features = backbone(torch.rand(1, 3, 16, 24))
        assert features.shape == (1, backbone.width, 16 // backbone.stride, 24 // backbone.stride)


def test_the_encoder_reads_every_frame_on_its_own(frames: Tensor) -> None:
    encoder = make_encoder()
    with torch.no_grad():
        together, alone = encoder.features(frames), encoder.features(frames[:, 4:5])
    assert together.shape == (2, 7, 8 * 12, 16)
    torch.testing.assert_close(alone[:, 0], together[:, 4], atol=1e-5, rtol=1e-5)
