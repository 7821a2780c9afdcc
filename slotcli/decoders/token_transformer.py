"""Autoregressive transformer decoder over the codec's tokens. Paper, Eq. 2.

The transformer of SLATE and STEVE (Singh et al. 2021, 2022). Generation caches the keys and values
of earlier tokens: a token costs one step, not a pass over the whole prefix.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int64
from torch import Tensor, nn

from slotcli.codecs.dvae import Dvae
from slotcli.decoders.base import RenderOptions
from slotcli.errors import ConfigError
from slotcli.types import Layout, Size

DROPOUT = 0.1

# Frames generated in one batch: keys and values take 12 MiB per frame as published.
_FRAMES = 16

# Keys and values of one attention layer, [b, heads, n, d / heads] each.
KeysValues = tuple[Tensor, Tensor]


class Past:
    """Key-value cache of the tokens so far, allocated once for all tokens of a frame."""

    def __init__(self, room: tuple[int, int, int, int], like: Tensor) -> None:
        self._keys, self._values = like.new_empty(room), like.new_empty(room)
        self._length = 0

    def append(self, keys: Tensor, values: Tensor) -> KeysValues:
        """Appends keys and values of the next tokens, and returns those of all tokens."""
        start, end = self._length, self._length + keys.shape[2]
        self._keys[:, :, start:end], self._values[:, :, start:end] = keys, values
        self._length = end
        return self._keys[:, :, :end], self._values[:, :, :end]


class Attention(nn.Module):
    """Multi-head attention without biases, with dropout on its weights and on its output."""

    def __init__(self, width: int, heads: int, out_gain: float) -> None:
        super().__init__()
        self.heads = heads
        self.queries = nn.Linear(width, width, bias=False)
        self.keys = nn.Linear(width, width, bias=False)
        self.values = nn.Linear(width, width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        for layer in (self.queries, self.keys, self.values):
            nn.init.xavier_uniform_(layer.weight)
        nn.init.xavier_uniform_(self.out.weight, out_gain)

    def project(self, context: Float[Tensor, "b n d"]) -> KeysValues:
        return self._split(self.keys(context)), self._split(self.values(context))

    def forward(
        self, x: Float[Tensor, "b p d"], keys_values: KeysValues, *, causal: bool
    ) -> Float[Tensor, "b p d"]:
        dropout = DROPOUT if self.training else 0.0
        queries = self._split(self.queries(x))
        read = F.scaled_dot_product_attention(
            queries, *keys_values, dropout_p=dropout, is_causal=causal
        )
        return F.dropout(self.out(read.transpose(1, 2).flatten(2)), dropout)

    def _split(self, x: Float[Tensor, "b p d"]) -> Float[Tensor, "b heads p e"]:
        return x.unflatten(2, (self.heads, -1)).transpose(1, 2)


class Block(nn.Module):
    """Causal self-attention, cross-attention to the slots, feed-forward, each behind a norm.

    The first block's shortcut starts from the normalised tokens, as published. Branches start
    with a gain of (3 blocks)^-0.5 on their last layer.
    """

    def __init__(self, width: int, heads: int, out_gain: float, first: bool) -> None:
        super().__init__()
        self.first = first
        self.norm_self = nn.LayerNorm(width)
        self.self_attention = Attention(width, heads, out_gain)
        self.norm_cross = nn.LayerNorm(width)
        self.cross_attention = Attention(width, heads, out_gain)
        self.norm_feed = nn.LayerNorm(width)
        inner, outer = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        nn.init.kaiming_uniform_(inner.weight, nonlinearity="relu")
        nn.init.xavier_uniform_(outer.weight, out_gain)
        nn.init.zeros_(inner.bias)
        nn.init.zeros_(outer.bias)
        self.feed_forward = nn.Sequential(inner, nn.ReLU(), outer, nn.Dropout(DROPOUT))

    def forward(
        self, x: Float[Tensor, "b p d"], context: KeysValues, past: Past | None
    ) -> Float[Tensor, "b p d"]:
        """`x` is a whole prefix if `past` is None, and the next token after `past` otherwise."""
        normed = self.norm_self(x)
        if self.first:
            x = normed
        keys_values = self.self_attention.project(normed)
        if past is not None:
            keys_values = past.append(*keys_values)
        x = x + self.self_attention(normed, keys_values, causal=past is None)
        x = x + self.cross_attention(self.norm_cross(x), context, causal=False)
        return x + self.feed_forward(self.norm_feed(x))


class TokenTransformer(nn.Module):
    """A frozen dVAE, and the transformer over its tokens that is trained.

    `grid` is the tokens' rows and columns. Raises ConfigError where slot_dim does not divide into
    the heads.
    """

    draws = True

    def __init__(self, codec: Dvae, *, grid: Size, slot_dim: int, blocks: int, heads: int) -> None:
        super().__init__()
        if slot_dim % heads:
            raise ConfigError(
                f"slot_dim: {slot_dim} does not divide into the decoder's {heads} heads.",
                f"Choose a multiple of {heads}, or other decoder.heads.",
            )
        self.codec = codec.requires_grad_(False)
        self.grid = grid
        self.heads = heads
        self.slots_in = nn.Linear(slot_dim, slot_dim)
        # One more than there are codes: the start token.
        self.tokens = nn.Embedding(codec.num_codes + 1, slot_dim)
        self.positions = nn.Parameter(torch.empty(1, grid[0] * grid[1], slot_dim))
        nn.init.trunc_normal_(self.positions)
        out_gain = (3 * blocks) ** -0.5
        self.blocks = nn.ModuleList(
            Block(slot_dim, heads, out_gain, first=index == 0) for index in range(blocks)
        )
        self.norm_out = nn.LayerNorm(slot_dim)
        self.head = nn.Linear(slot_dim, codec.num_codes, bias=False)

    def train(self, mode: bool = True) -> "TokenTransformer":
        """Sets the training mode of all modules but the codec, which is frozen."""
        super().train(mode)
        self.codec.eval()
        return self

    @property
    def networks(self) -> list[nn.Module]:
        """None: one token that changes through rounding changes all tokens after it."""
        return []

    @torch.no_grad()
    def target(self, frames: Float[Tensor, "b 3 h w"]) -> Int64[Tensor, "b p"]:
        """The codec's tokens of frames in [-1, 1], row by row."""
        return self.codec.tokens(frames)

    def loss(
        self,
        slots: Float[Tensor, "b n d"],
        target: Int64[Tensor, "b p"],
        seen: Layout | None = None,
    ) -> Float[Tensor, ""]:
        """Mean cross-entropy of each token given those before it, in nats. Paper, Eq. 2."""
        return F.cross_entropy(self.logits(slots, target).flatten(0, 1), target.flatten())

    def logits(
        self, slots: Float[Tensor, "b n d"], tokens: Int64[Tensor, "b p"]
    ) -> Float[Tensor, "b p k"]:
        """Logits of all codes at each position, given the slots and the tokens before it."""
        before = torch.cat([self._start(slots), tokens[:, :-1]], dim=1)
        return self.head(self._states(before, 0, self._context(slots), None))

    @torch.no_grad()
    def generate(
        self, slots: Float[Tensor, "b n d"], *, cached: bool = True
    ) -> Int64[Tensor, "b p"]:
        """Greedy decoding: the most likely token at each position, in order.

        If not `cached`, the whole prefix is recomputed for every token, as the authors do. The
        tokens are the same; benches measure the difference in time.
        """
        context, tokens = self._context(slots), self._start(slots)
        length = self.positions.shape[1]
        room = (len(slots), self.heads, length, slots.shape[2] // self.heads)
        pasts = [Past(room, slots) for _ in self.blocks] if cached else None
        for position in range(length):
            first = position if cached else 0
            states = self._states(tokens[:, first:], first, context, pasts)
            tokens = torch.cat([tokens, self.head(states[:, -1:]).argmax(dim=2)], dim=1)
        return tokens[:, 1:]

    @torch.no_grad()
    def render(
        self, slots: Float[Tensor, "b n d"], options: RenderOptions, seen: Layout | None = None
    ) -> Float[Tensor, "b 3 h w"]:
        """Decodes the most likely tokens to frames, clamped to [-1, 1]; ignores `options`."""
        parts = [
            self.codec.decode_tokens(self.generate(part), self.grid)
            for part in slots.split(_FRAMES)
        ]
        return torch.cat(parts).clamp(-1, 1)

    def soft_masks(
        self, slots: Float[Tensor, "b n d"], attention: Float[Tensor, "b n i j"]
    ) -> Float[Tensor, "b n i j"]:
        """Returns the encoder's attention: the decoder has no masks of its own."""
        return attention

    def _states(
        self,
        tokens: Int64[Tensor, "b l"],
        first: int,
        context: list[KeysValues],
        pasts: list[Past] | None,
    ) -> Float[Tensor, "b l d"]:
        """Hidden states at the positions from `first` on; each follows its token in `tokens`."""
        x = self.tokens(tokens) + self.positions[:, first : first + tokens.shape[1]]
        x = F.dropout(x, DROPOUT, self.training)
        for index, block in enumerate(self.blocks):
            x = block(x, context[index], None if pasts is None else pasts[index])
        return self.norm_out(x)

    def _context(self, slots: Float[Tensor, "b n d"]) -> list[KeysValues]:
        """Keys and values of the slots for every block; they are the same for all tokens."""
        projected = self.slots_in(slots)
        return [
            block.cross_attention.project(projected)
            for block in self.blocks
            if isinstance(block, Block)
        ]

    def _start(self, slots: Float[Tensor, "b n d"]) -> Int64[Tensor, "b 1"]:
        start = self.codec.num_codes
        return torch.full((len(slots), 1), start, dtype=torch.long, device=slots.device)
