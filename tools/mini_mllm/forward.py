"""The mini MLLM's forward pass and loss over whole batches: the same sums as transformers', fewer and larger steps.

transformers' vision part goes picture by picture and its norms in five passes; both cost more than the sums of a model this
small. The parameters are those of the transformers model, and a test holds both ways against each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

DECISION_WEIGHT, ECHO_WEIGHT = 8.0, 0.5  # in the loss, beside 1 for every other token of an answer


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Pictures of one size."""

    patches: torch.Tensor  # (n, n_patches, patch_dim) as the processor orders them
    grid: tuple[int, int]  # patches in (height, width)


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Conversations padded on the right."""

    ids: torch.Tensor  # (b, length)
    positions: torch.Tensor  # (3, b, length)
    pictures: tuple[Pictures, ...]  # grouped by size
    order: torch.Tensor  # (n_image_tokens,) which row of the groups' tokens stands at each image token, row by row
    places: torch.Tensor  # (n_targets,) flat positions whose next token is supervised; the answers' before the prompts'
    targets: torch.Tensor  # (n_targets,)
    firsts: torch.Tensor  # (b,) where in `places` each answer begins
    decisions: torch.Tensor  # (n_decisions,) where in `places` a token that decides is foretold
    finals: torch.Tensor  # (up to b,) those of them that decide a whole answer: a Yes or No, or the best mark
    answer_count: int  # how many of `places` are of answers


def answer_logits(model: Any, batch: Batch) -> torch.Tensor:
    """(n_targets, vocabulary) logits where an answer's tokens are to be foretold."""
    hidden = read(model.model.language_model, embedded(model, batch), batch.positions)
    logits: torch.Tensor = model.lm_head(hidden.flatten(0, 1)[batch.places])
    return logits


def embedded(model: Any, batch: Batch) -> torch.Tensor:
    """(b, length, width) what the text part reads: words, and pictures as the vision part sees them."""
    hidden: torch.Tensor = model.model.language_model.embed_tokens(batch.ids)
    if batch.pictures:
        tokens = _see(model.model.visual, batch.pictures)[batch.order]
        hidden = hidden.masked_scatter((batch.ids == model.config.image_token_id)[..., None], tokens.to(hidden.dtype))
    return _as_computed(hidden)


def loss_of(logits: torch.Tensor, batch: Batch) -> torch.Tensor:
    """Weighted mean cross entropy of the supervised tokens: what decides counts most, what a prompt says least."""
    from torch.nn import functional

    losses = functional.cross_entropy(logits.float(), batch.targets, reduction="none")
    weights = losses.new_ones(len(losses)).index_fill_(0, batch.decisions, DECISION_WEIGHT)
    weights[batch.answer_count :] = ECHO_WEIGHT
    return (losses * weights).sum() / weights.sum()


def _see(visual: Any, groups: tuple[Pictures, ...]) -> torch.Tensor:
    """(n_image_tokens, text_width) tokens of all pictures, group after group."""
    import torch

    return torch.cat([_see_group(visual, group).flatten(0, 1) for group in groups])


def _see_group(visual: Any, group: Pictures) -> torch.Tensor:
    from torch.nn import functional

    n, length, _ = group.patches.shape
    weight = visual.patch_embed.proj.weight
    hidden = _as_computed(functional.linear(group.patches.to(weight.dtype), weight.flatten(1)))  # (n, length, width)
    cosine, sine = _vision_angles(visual, group.grid, hidden)
    for block in visual.blocks:
        heads = block.attn.num_heads
        qkv = block.attn.qkv(_norm(block.norm1, hidden)).view(n, length, 3, heads, -1).permute(2, 0, 3, 1, 4)
        q, k, v = _turn(qkv[0], cosine, sine), _turn(qkv[1], cosine, sine), qkv[2]
        mixed = functional.scaled_dot_product_attention(q, k, v)  # (n, heads, length, head_dim)
        hidden = hidden + block.attn.proj(mixed.transpose(1, 2).reshape(n, length, -1))
        hidden = hidden + _inner(block.mlp, _norm(block.norm2, hidden))
    merger = visual.merger
    merged: torch.Tensor = merger.mlp(_norm(merger.ln_q, hidden).reshape(n, length // 4, -1))  # (n, length / 4, text_width)
    return merged


def _vision_angles(visual: Any, grid: tuple[int, int], like: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(length, head_dim) cosines and sines of rows and columns, patches in the order of the merged squares."""
    import torch

    height, width = grid
    rows = torch.arange(height, device=like.device)[:, None].expand(height, width)
    columns = torch.arange(width, device=like.device)[None].expand(height, width)
    rows, columns = (x.reshape(height // 2, 2, width // 2, 2).permute(0, 2, 1, 3).flatten() for x in (rows, columns))
    steps: torch.Tensor = visual.rotary_pos_emb.inv_freq.to(like.device)
    angles = torch.cat([rows[:, None] * steps, columns[:, None] * steps], dim=-1)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos().to(like.dtype), _signed(angles.sin()).to(like.dtype)


class KeysAndValues:
    """Keys and values of the tokens that were read, for those that follow.

    Args:
        open: (b, length) which of the first tokens are no padding.
    """

    def __init__(self, open: torch.Tensor) -> None:
        self.open = open
        self.layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def extended(self, layer: int, k: torch.Tensor, v: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """All keys and values of a layer, the new ones last, and (b, 1, 1, n_keys) which of them may be looked at."""
        import torch
        from torch.nn import functional

        if layer in self.layers:
            k, v = (torch.cat(pair, dim=2) for pair in zip(self.layers[layer], (k, v), strict=True))
        self.layers[layer] = k, v
        return k, v, functional.pad(self.open, (0, k.shape[2] - self.open.shape[1]), value=True)[:, None, None]


def read(language: Any, hidden: torch.Tensor, positions: torch.Tensor, cache: KeysAndValues | None = None) -> torch.Tensor:
    """(b, length, width) last hidden states. What stands right of a token never reaches it, so padding needs no mask.

    With `cache`, the tokens read before stand before these, which is one token a row from the second time on.
    """
    from torch.nn import functional

    b, length, _ = hidden.shape
    cosine, sine = language.rotary_emb(hidden, positions)  # (b, length, head_dim)
    cosine, sine = cosine[:, None], _signed(sine)[:, None]
    for n, layer in enumerate(language.layers):
        own = layer.self_attn
        x = _norm(layer.input_layernorm, hidden)
        q, k, v = (part(x).view(b, length, -1, own.head_dim).transpose(1, 2) for part in (own.q_proj, own.k_proj, own.v_proj))
        q, k = _turn(q, cosine, sine), _turn(k, cosine, sine)
        k, v = (part.repeat_interleave(own.num_key_value_groups, dim=1) for part in (k, v))
        mask = None
        if cache is not None:
            k, v, mask = cache.extended(n, k, v)
        alone = k.shape[2] == length  # nothing stands before
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=None if alone else mask, is_causal=alone)
        hidden = hidden + own.o_proj(mixed.transpose(1, 2).reshape(b, length, -1))
        hidden = hidden + _inner(layer.mlp, _norm(layer.post_attention_layernorm, hidden))
    return _norm(language.norm, hidden)


def _norm(norm: Any, hidden: torch.Tensor) -> torch.Tensor:
    from torch.nn import functional

    return functional.rms_norm(hidden, norm.weight.shape, norm.weight.to(hidden.dtype), norm.variance_epsilon)


def _inner(mlp: Any, hidden: torch.Tensor) -> torch.Tensor:
    from torch.nn import functional

    out: torch.Tensor = mlp.down_proj(functional.silu(mlp.gate_proj(hidden)) * mlp.up_proj(hidden))
    return out


def _turn(x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
    """Rotary positions, with the two halves of the head as the parts of each pair; `sine` has the signs of `_signed`."""
    import torch

    left, right = x.chunk(2, dim=-1)
    return torch.addcmul(x * cosine, torch.cat([right, left], dim=-1), sine)


def _signed(sine: torch.Tensor) -> torch.Tensor:
    """The sines with a minus in the first half, which spares a pass over every query and key."""
    import torch

    left, right = sine.chunk(2, dim=-1)
    return torch.cat([-left, right], dim=-1)


def _as_computed(hidden: torch.Tensor) -> torch.Tensor:
    """In bfloat16 where sums are: the sums between the layers too, which halves what the memory has to carry."""
    import torch

    kind = hidden.device.type
    return hidden.to(torch.get_autocast_dtype(kind)) if torch.is_autocast_enabled(kind) else hidden
