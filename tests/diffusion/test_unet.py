"""The U-Net against diffusers' with the same weights, and what the context does in it."""

from collections.abc import Callable

import pytest
import torch
from diffusers.models.unets.unet_2d_condition import UNet2DConditionModel
from torch import Tensor, nn

from slotcli.diffusion.unet import Absorbed, Attention, KeysValues, UNet, timestep_embedding

CONTEXT_DIM = 48

# Ours, then theirs, within a residual block and within a transformer block.
RES = {
    "norm1": "norm1",
    "conv1": "conv1",
    "time": "time_emb_proj",
    "norm2": "norm2",
    "conv2": "conv2",
    "shortcut": "conv_shortcut",
}
TRANSFORMER = {"norm": "norm", "project_in": "proj_in", "project_out": "proj_out"} | {
    ours: f"transformer_blocks.0.{theirs}"
    for ours, theirs in {
        "norm_self": "norm1",
        "self_attention.queries": "attn1.to_q",
        "self_attention.keys": "attn1.to_k",
        "self_attention.values": "attn1.to_v",
        "self_attention.out": "attn1.to_out.0",
        "norm_cross": "norm2",
        "cross_attention.queries": "attn2.to_q",
        "cross_attention.keys": "attn2.to_k",
        "cross_attention.values": "attn2.to_v",
        "cross_attention.out": "attn2.to_out.0",
        "norm_feed": "norm3",
        "feed_forward.inner": "ff.net.0.proj",
        "feed_forward.outer": "ff.net.2",
    }.items()
}


def key_map(levels: int, res_blocks: int) -> dict[str, str]:
    """Prefixes of our parameters to prefixes of theirs, for every part of the network."""
    prefixes = {
        "conv_in": "conv_in",
        "time.0": "time_embedding.linear_1",
        "time.2": "time_embedding.linear_2",
        "head.0": "conv_norm_out",
        "head.2": "conv_out",
    }
    stages = [
        (f"{ours}.{level}.{block}", f"{theirs}.{level}", block)
        for ours, theirs, blocks in (
            ("down", "down_blocks", res_blocks),
            ("up", "up_blocks", res_blocks + 1),
        )
        for level in range(levels)
        for block in range(blocks)
    ]
    for ours, theirs, block in [*stages, ("middle", "mid_block", 0)]:
        for part, name in RES.items():
            prefixes[f"{ours}.res.{part}"] = f"{theirs}.resnets.{block}.{name}"
        for part, name in TRANSFORMER.items():
            prefixes[f"{ours}.transformer.{part}"] = f"{theirs}.attentions.{block}.{name}"
    for part, name in RES.items():
        prefixes[f"middle_out.{part}"] = f"mid_block.resnets.1.{name}"
    for level in range(levels - 1):
        prefixes[f"downsample.{level}"] = f"down_blocks.{level}.downsamplers.0.conv"
        prefixes[f"upsample.{level}"] = f"up_blocks.{level}.upsamplers.0.conv"
    return prefixes


def randomise(module: nn.Module) -> None:
    """Random weights everywhere, also where training starts from zero, that keep signals alive."""
    torch.manual_seed(0)
    for name, parameter in module.named_parameters():
        fan_in = parameter[0].numel() if parameter.ndim > 1 else 16
        nn.init.normal_(parameter, std=fan_in**-0.5)
        if "norm" in name and name.endswith("weight"):
            parameter.data += 1


def make(multipliers: tuple[int, ...] = (1, 2, 3), channels: int = 64, res_blocks: int = 2) -> UNet:
    unet = UNet(3, channels, multipliers, res_blocks, CONTEXT_DIM).eval()
    randomise(unet)
    return unet


@pytest.fixture(scope="module")
def small() -> UNet:
    return make((1, 2), channels=32, res_blocks=1)


@pytest.fixture
def inputs() -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x, context = (
        torch.randn(2, 3, 8, 8, generator=generator),
        torch.randn(2, 5, 48, generator=generator),
    )
    return x, torch.tensor([10.0, 700.5]), context


@torch.no_grad()
def test_it_agrees_with_diffusers(inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    """Every part has its counterpart there; dropout alone is left out, both being evaluated."""
    ours = make()
    theirs = UNet2DConditionModel(
        in_channels=3,
        out_channels=3,
        block_out_channels=(64, 128, 192),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=2,
        cross_attention_dim=CONTEXT_DIM,
        # In truth the number of heads, of 32 channels each; the annotation says one number only.
        attention_head_dim=(2, 4, 6),  # pyright: ignore[reportArgumentType]
        norm_eps=1e-5,
        flip_sin_to_cos=True,
        freq_shift=0,
    ).eval()
    prefixes = key_map(levels=3, res_blocks=2)
    weights = {}
    for key, tensor in ours.state_dict().items():
        part, kind = key.rsplit(".", 1)
        weights[f"{prefixes[part]}.{kind}"] = tensor
    theirs.load_state_dict(weights)  # strict: no tensor is left over on either side

    x, step, context = inputs
    found = ours(x, step, ours.project_context(context))
    wanted = theirs(x, step, context).sample
    assert ((found - wanted).norm() / wanted.norm()).item() < 1e-4
    assert wanted.std() > 0.1


@torch.no_grad()
def test_positions_change_nothing_at_first_and_then_tell_places_apart(
    inputs: tuple[Tensor, Tensor, Tensor],
) -> None:
    _, step, context = inputs
    flat = torch.zeros(2, 3, 8, 8)
    told = UNet(3, 32, (1, 2), 1, CONTEXT_DIM, positions=(8, 8)).eval()
    plain = UNet(3, 32, (1, 2), 1, CONTEXT_DIM).eval()
    weights = {
        name: torch.randn(tensor.shape, generator=torch.Generator().manual_seed(0)) / 16
        for name, tensor in plain.state_dict().items()
    }
    plain.load_state_dict(weights)
    told.load_state_dict(told.state_dict() | weights)
    wanted = plain(flat, step, plain.project_context(context))
    assert torch.equal(told(flat, step, told.project_context(context)), wanted)

    position = told.get_submodule("position.project")
    nn.init.normal_(position.get_parameter("weight"))
    found = told(flat, step, told.project_context(context))
    # Away from the padding all places of the plain one see the same.
    inner = (slice(None), slice(None), slice(3, 5), slice(3, 5))
    assert (found[inner] - wanted[inner]).flatten(2).std(dim=2).min() > 1e-4


@torch.no_grad()
def test_the_order_of_the_context_does_not_matter(
    small: UNet, inputs: tuple[Tensor, Tensor, Tensor]
) -> None:
    x, step, context = inputs
    found = small(x, step, small.project_context(context))
    permuted = small(x, step, small.project_context(context[:, [4, 2, 0, 1, 3]]))
    torch.testing.assert_close(permuted, found, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_every_layer_reads_its_own_keys_and_values(inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    unet = make((1, 2), channels=32, res_blocks=2)
    x, step, context = inputs
    keys_values = unet.project_context(context)
    found = unet(x, step, keys_values)
    assert len(keys_values) == 2 + 1 + 3
    for layer, own in enumerate(keys_values):
        changed = [*keys_values]
        changed[layer] = own._replace(values=own.values.flip(-1))
        assert (unet(x, step, changed) - found).abs().max() > 1e-3, layer
    for layer in range(len(keys_values) - 1):
        swapped = [*keys_values]
        swapped[layer : layer + 2] = reversed(swapped[layer : layer + 2])
        assert (unet(x, step, swapped) - found).abs().max() > 1e-3, layer


@torch.no_grad()
def test_keys_and_values_are_projected_in_the_order_in_which_layers_read_them(
    small: UNet, inputs: tuple[Tensor, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    x, step, context = inputs
    read: list[Tensor] = []
    for name, module in small.named_modules():
        if isinstance(module, Attention) and name.endswith("cross_attention"):
            own = module.project(context).keys

            def spy(
                tokens: Tensor,
                keys_values: KeysValues,
                own: Tensor = own,
                forward: Callable[..., Tensor] = module.forward,
            ) -> Tensor:
                assert torch.equal(keys_values.keys, own)
                read.append(own)
                return forward(tokens, keys_values)

            monkeypatch.setattr(module, "forward", spy)
    keys_values = small.project_context(context)
    small(x, step, keys_values)
    assert len(read) == len(keys_values) == 1 + 1 + 2


@torch.no_grad()
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 3e-6), (torch.bfloat16, 3e-2)])
def test_an_absorbed_context_is_the_same_context(
    inputs: tuple[Tensor, Tensor, Tensor], dtype: torch.dtype, limit: float
) -> None:
    unet = make((1, 2), channels=32, res_blocks=1)
    x, step, context = inputs
    wanted = unet(x, step, unet.project_context(context))
    unet = unet.to(dtype)
    absorbed = unet.project_context(context.to(dtype), size=(8, 8))
    assert [type(layer) for layer in absorbed] == [Absorbed] * (1 + 1 + 2)
    found = unet(x.to(dtype), step, absorbed)
    assert found.dtype == dtype
    assert (found - wanted).norm() < limit * wanted.norm()


@torch.no_grad()
def test_too_many_vectors_are_not_absorbed(small: UNet) -> None:
    layers = small.project_context(torch.randn(2, 70, 48), size=(8, 8))
    assert [type(layer) for layer in layers] == [KeysValues] * 4


@torch.no_grad()
def test_items_of_a_batch_keep_to_themselves(
    small: UNet, inputs: tuple[Tensor, Tensor, Tensor]
) -> None:
    x, step, context = inputs
    together = small(x, step, small.project_context(context))
    alone = small(x[1:], step[1:], small.project_context(context[1:]))
    torch.testing.assert_close(alone[0], together[1], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_untrained_it_predicts_zero(inputs: tuple[Tensor, Tensor, Tensor]) -> None:
    unet = UNet(3, 32, (1, 2), 1, CONTEXT_DIM)
    x, step, context = inputs
    assert unet(x, step, unet.project_context(context)).abs().max() == 0


def test_timestep_embedding_has_cosines_first() -> None:
    step = torch.tensor([0.0, 3.25])
    embedding = timestep_embedding(step, 8)
    frequencies = torch.tensor([1.0, 0.1, 0.01, 0.001])
    torch.testing.assert_close(embedding[1, :4], (3.25 * frequencies).cos())
    torch.testing.assert_close(embedding[1, 4:], (3.25 * frequencies).sin())
    assert embedding[0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
