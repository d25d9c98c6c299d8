"""MTM: an article is judged by the few of its sentences that quote a claim or speak the way those do that check one.

    v(x) = mean of the word vectors of x            q, s_j: of the claim and of a sentence            m_k: K patterns, a memory
    event  d_j = |s_j - q|      pattern  e_j = min_k |(s_j - q) - m_k|
    score_j = .6 scale(d)_j + .4 scale(e)_j    scale(d) = 1 - (d - min d) / (max d - min d)       the best few sentences are read
    BERT([CLS] claim [SEP] sentence [SEP]) -> u, z: means over the claim's and the sentence's tokens
    g = sum over these of w_j [u; z; m of j] -> MLP -> two logits

Word vectors come from a transformer of one layer that was taught ROUGE; patterns are the middles of clusters of s - q, moved after each
epoch towards what led to right decisions and away from what led to wrong ones.

Source: MTM (arXiv 2112.10322, code ICTMCG/MTM), by its note: the formulas, weights, quantiles and the update. Ours: the regulariser of the
first stage looks at the weights as they were (in the released code it is always 0); between the linear maps of the MLP stands a GELU and
nothing behind the last, unless `released` asks for the layers as they are there; padding is 0.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field
from torch import Tensor, nn

from mmrerank.errors import FormatError
from mmrerank.types import Array

Values = npt.NDArray[np.float64]
Positive: TypeAlias = Annotated[int, Field(ge=1)]

SETTINGS, HEAD = "mtm.json", "mtm.safetensors"
EVENT, PATTERN = 0.6, 0.4  # what the two evidences weigh
QUANTILES = (0.25, 0.5)  # of the distances of gold sentences: near enough to be about it, too far to be the quotation itself
STEP = 0.3  # of an update, times the length of the pattern
TINY = 1e-8


@dataclass(frozen=True, kw_only=True)
class MtmConfig:
    """Sizes and limits."""

    sentences: Positive = 5  # of an article that are read
    patterns: Positive = 20
    claim_tokens: Positive = 180
    sentence_tokens: Positive = 73
    released: bool = False  # no GELU between the linear maps, and two behind the last


# ---------------------------------------------------------------------- which sentences


def scaled(distances: npt.ArrayLike) -> Values:
    """Distances within one article as scores from 0 to 1, the nearest 1; all 1 where they are equal.

    >>> scaled([1, 3]).round(6).tolist(), scaled([2, 2, 2]).tolist()
    ([1.0, 0.0], [1.0, 1.0, 1.0])
    """
    values = np.asarray(distances, dtype=np.float64)
    scores: Values = 1 - (values - values.min()) / (values.max() - values.min() + TINY)
    return scores


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySentences:
    """The sentences of an article that are read, best first."""

    places: tuple[int, ...]
    scores: tuple[float, ...]
    patterns: tuple[int, ...]  # the nearest of each

    @property
    def weights(self) -> Array:
        """(n,) shares of the scores; a sentence alone weighs 1."""
        if len(self.scores) == 1:
            return np.ones(1, dtype=np.float32)
        scores = np.array(self.scores)
        shares: Array = (scores / (scores.sum() + TINY)).astype(np.float32)
        return shares


def key_sentences(claim: Array, sentences: Array, memory: Array, count: int) -> KeySentences:
    """The `count` best sentences; equal ones in the order of the article.

    Args:
        claim: (D,) vector.
        sentences: (n, D) at least one.
        memory: (K, D) patterns.
    """
    residuals = sentences - claim
    apart = np.linalg.norm(residuals[:, None] - memory[None], axis=-1)  # (n, K)
    scores = EVENT * scaled(np.linalg.norm(residuals, axis=-1)) + PATTERN * scaled(apart.min(axis=1))
    order = np.argsort(-scores, kind="stable")[:count]
    return KeySentences(
        places=tuple(map(int, order)), scores=tuple(map(float, scores[order])), patterns=tuple(map(int, apart.argmin(axis=1)[order]))
    )


# ---------------------------------------------------------------------- the memory


def first_memory(residuals: Array, count: int, *, seed: int = 0) -> Array:
    """(K, D) middles of clusters of (n, D) residuals, by k-means."""
    import faiss

    means = faiss.Kmeans(residuals.shape[1], count, niter=20, nredo=5, seed=seed, verbose=False, min_points_per_centroid=1)
    means.train(np.ascontiguousarray(residuals, dtype=np.float32))
    return np.asarray(means.centroids, dtype=np.float32)


def within_quantiles(distances: npt.ArrayLike, low: float = QUANTILES[0], high: float = QUANTILES[1]) -> npt.NDArray[np.bool_]:
    """(n,) which of the distances lie between two of their quantiles."""
    values = np.asarray(distances)
    chosen: npt.NDArray[np.bool_] = (values >= np.quantile(values, low)) & (values <= np.quantile(values, high))
    return chosen


def moved_memory(memory: Array, residuals: Array, patterns: Sequence[int], trust: Sequence[float], labels: Sequence[int]) -> Array:
    """The (K, D) memory after an epoch.

    Args:
        residuals: (n, D) of sentences that were read.
        patterns: (n,) the pattern of each.
        trust: (n,) what the model gave the true label of the pair, from 0 to 1; above a half it decided rightly.
        labels: (n,) of the pairs: 1 where the article checks the claim.
    """
    own, sure = np.asarray(patterns), np.asarray(trust, dtype=np.float64)
    right = (sure > 0.5) | ((sure == 0.5) & (np.asarray(labels) == 0))
    weight = np.abs(sure - 0.5)
    moved = memory.astype(np.float64)
    for k in range(len(memory)):
        pull = np.zeros(memory.shape[1])
        total = weight[own == k].sum()
        for group, sign in ((right, 1), (~right, -1)):
            mine = (own == k) & group
            if weight[mine].sum() > 0:
                middle = np.average(residuals[mine], axis=0, weights=weight[mine])
                pull += weight[mine].sum() / total * sign * (middle - memory[k])
        length, own_length = np.linalg.norm(pull), np.linalg.norm(memory[k])
        if length > 1e-6 * own_length:  # nothing pulls where no sentence has the pattern, or what pulls is where it stands
            moved[k] += STEP * own_length * pull / length
    return moved.astype(np.float32)


def rouge2(sentence: Sequence[int], claim: Sequence[int]) -> tuple[float, float]:
    """Precision and recall of the pairs of neighbouring tokens of a sentence, of those of a claim.

    >>> rouge2([1, 2, 3, 4], [1, 2, 3]), rouge2([1, 2], [3, 4])
    ((0.6666666666666666, 1.0), (0.0, 0.0))
    """
    ours, theirs = (Counter(pairwise(tokens)) for tokens in (sentence, claim))
    shared = sum((ours & theirs).values())
    return shared / max(sum(ours.values()), 1), shared / max(sum(theirs.values()), 1)


# ---------------------------------------------------------------------- networks


class RougeTransformer(nn.Module):
    """A BERT's embeddings and first layer, that learn how much of a claim a sentence quotes."""

    def __init__(self, encoder: Any) -> None:
        """
        Args:
            encoder: transformers' BertModel without a pooler, of which embeddings and first layer are trained in place.
        """
        super().__init__()
        self.encoder = encoder
        width = encoder.config.hidden_size
        self.pooler, self.head = nn.Linear(width, width), nn.Linear(width, 2)
        self._first = {name: weight.detach().clone() for name, weight in self.taught().items()}

    def taught(self) -> dict[str, nn.Parameter]:
        """The weights of the embeddings and of the first layer."""
        return {
            name: weight for name, weight in self.encoder.named_parameters() if name.startswith("embeddings.") or ".layer.0." in f".{name}"
        }

    def forward(self, ids: Tensor, mask: Tensor, types: Tensor) -> Tensor:
        """(n, 2) precision and recall of pairs of claim and sentence."""
        with _one_layer(self.encoder):
            states = self.encoder(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state
        result: Tensor = torch.sigmoid(self.head(torch.tanh(self.pooler(states[:, 0]))))
        return result

    def anchor(self) -> Tensor:
        """How far the taught weights are from where they were, squared and summed."""
        return torch.stack([(weight - self._first[name].to(weight)).square().sum() for name, weight in self.taught().items()]).sum()


@contextmanager
def _one_layer(encoder: Any) -> Iterator[None]:
    """While this is open, the encoder has its first layer alone."""
    layers = encoder.encoder.layer
    encoder.encoder.layer = layers[:1]
    try:
        yield
    finally:
        encoder.encoder.layer = layers


class MtmNetwork(nn.Module):
    """Claims and their articles -> (n, 2) logits; the second is that the article checks the claim."""

    def __init__(self, encoder: Any, tokenizer: Any, config: MtmConfig) -> None:
        """
        Args:
            encoder: transformers' BertModel without a pooler.
        """
        super().__init__()
        self.encoder, self.tokenizer, self.config = encoder, tokenizer, config
        width = encoder.config.hidden_size
        self.memory: Tensor
        self.register_buffer("memory", torch.zeros(config.patterns, width))
        sizes = [3 * width, *(3 * width // 2**n for n in range(1, 5)), 2]
        self.maps = nn.ModuleList(nn.Linear(a, b, bias=b != 2) for a, b in pairwise(sizes))

    @property
    def device(self) -> torch.device:
        return self.memory.device

    def tokens(self, text: str, most: int) -> list[int]:
        """The ids of a text, without those that begin and end a sequence."""
        ids: list[int] = self.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids[:most]

    @torch.no_grad()
    def vectors(self, texts: Sequence[str]) -> Array:
        """(n, D) means of the word vectors of texts; zeros where a text has no token."""
        words = self.encoder.embeddings.word_embeddings.weight
        rows = [self.tokens(text, self.config.claim_tokens) for text in texts]
        means = [words[row].mean(dim=0) if row else torch.zeros_like(words[0]) for row in rows]
        result: Array = torch.stack(means).float().cpu().numpy()
        return result

    def selected(self, claim: str, sentences: Sequence[str]) -> KeySentences:
        """The sentences of an article that are read; of an article with at least one."""
        rows = self.vectors([claim, *sentences])
        return key_sentences(rows[0], rows[1:], self.memory.cpu().numpy(), self.config.sentences)

    def forward(
        self, claims: Sequence[str], sentences: Sequence[Sequence[str]], weights: Sequence[Array], patterns: Sequence[Sequence[int]]
    ) -> Tensor:
        """(n, 2) logits of n pairs of a claim and the sentences that are read of an article, with their weights and patterns."""
        flat = [(claim, sentence) for claim, some in zip(claims, sentences, strict=True) for sentence in some]
        read = self._read(flat)  # (n_sentences, 2 D)
        nearest = self.memory[torch.tensor([k for some in patterns for k in some], device=self.device)]
        each = torch.cat([read, nearest], dim=-1) * torch.tensor(np.concatenate(weights), device=self.device)[:, None]
        owner = torch.tensor([n for n, some in enumerate(sentences) for _ in some], device=self.device)
        whole = torch.zeros(len(claims), each.shape[-1], device=self.device).index_add(0, owner, each)
        return self._judged(whole)

    def _judged(self, x: Tensor) -> Tensor:
        for n, one in enumerate(self.maps):
            x = one(x)
            if not self.config.released and n < len(self.maps) - 1:
                x = nn.functional.gelu(x)
        return nn.functional.gelu(nn.functional.gelu(x)) if self.config.released else x

    def _read(self, pairs: Sequence[tuple[str, str]]) -> Tensor:
        """(n, 2 D) means over the tokens of the claim and over those of the sentence."""
        ids, mask, types, sides = self.pairs(pairs)
        states = self.encoder(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state
        return torch.cat([_mean(states, sides == side) for side in (0, 1)], dim=-1)

    def pairs(self, pairs: Sequence[tuple[str, str]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(n, L) ids, mask, token types and sides of pairs: 0 is a token of the claim, 1 one of the sentence, -1 neither."""
        begin, between = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        claims = [self.tokens(claim, self.config.claim_tokens) for claim, _ in pairs]
        sentences = [self.tokens(sentence, self.config.sentence_tokens) for _, sentence in pairs]
        rows = [[begin, *a, between, *b, between] for a, b in zip(claims, sentences, strict=True)]
        width = max(map(len, rows))
        ids = torch.zeros(len(rows), width, dtype=torch.long)
        sides = torch.full((len(rows), width), -1)
        for n, (a, b, row) in enumerate(zip(claims, sentences, rows, strict=True)):
            ids[n, : len(row)] = torch.tensor(row)
            sides[n, 1 : len(a) + 1] = 0
            sides[n, len(a) + 2 : len(a) + 2 + len(b)] = 1
        lengths = torch.tensor([len(row) for row in rows])[:, None]
        mask = (torch.arange(width)[None] < lengths).long()
        types = (torch.arange(width)[None] >= torch.tensor([len(a) + 2 for a in claims])[:, None]).long()
        return ids.to(self.device), mask.to(self.device), types.to(self.device), sides.to(self.device)

    def save(self, folder: Path) -> None:
        """Writes the encoder with its tokenizer, and memory, maps and settings beside it."""
        from safetensors.torch import save_file

        self.encoder.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)
        save_file({name: value.contiguous() for name, value in self.own_state().items()}, folder / HEAD)
        (folder / SETTINGS).write_text(json.dumps(asdict(self.config), indent=2) + "\n", encoding="utf-8")

    def own_state(self) -> dict[str, Tensor]:
        """The memory and the maps."""
        return {name: value for name, value in self.state_dict().items() if not name.startswith("encoder.")}

    @classmethod
    def load(cls, folder: Path) -> MtmNetwork:
        """The network of a folder, in evaluation mode.

        Raises:
            FormatError: it is none, or weights are missing.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file
        from transformers import AutoTokenizer, BertModel

        try:
            config = MtmConfig(**json.loads((folder / SETTINGS).read_text(encoding="utf-8")))
            encoder, report = BertModel.from_pretrained(folder, local_files_only=True, output_loading_info=True, add_pooling_layer=False)
            network = cls(encoder, AutoTokenizer.from_pretrained(folder, local_files_only=True), config)
            tensors = load_file(folder / HEAD)
            missing = [*(report.get("missing_keys") or ()), *(set(network.own_state()) - set(tensors))]
            network.load_state_dict(tensors, strict=False)
        except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
            hint = f"Expected a BERT with {SETTINGS} and {HEAD} beside it, as `mmrerank train` writes it."
            raise FormatError(f"no network of MTM: {' '.join(str(error).split())[:300]}", path=folder, hint=hint) from error
        if missing:
            raise FormatError(f"missing in the weights: {', '.join(sorted(missing)[:3])}; they would be random", path=folder)
        return network.eval()


def _mean(states: Tensor, chosen: Tensor) -> Tensor:
    """(n, D) means over the chosen tokens; zeros where there are none."""
    share = chosen.to(states.dtype)
    return (states * share[..., None]).sum(dim=1) / share.sum(dim=1).clamp(min=1)[:, None]
