"""MTM as it is trained: first how much of a claim a sentence quotes, then which articles check it, with a memory of patterns.

    [model]  network = "mtm"   base: a BERT, such as sentence-transformers/all-MiniLM-L6-v2
             options = { sentences = 5, patterns = 20 }      frozen_layers: of the encoder, from below, in what follows the first stage

    loss "overlap"    pairs of a claim and a sentence towards ROUGE-2: embeddings and first layer alone are trained
    any other         lists of articles towards their grades: these two stay as they are, the layers above and the maps are trained

Before the first stage of the second kind the memory is made, of the articles that check their claims; after each such stage it is moved, by
what the network then says of the stage's own articles. So a stage is an epoch of the paper, or some steps of one.

Source: MTM (arXiv 2112.10322, code ICTMCG/MTM), see `models/mtm.py`. Ours: equal pairs of precision and recall count once in a batch, where
they count once in the data there; the better of the states before and after a move is not looked for.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from mmrerank.errors import InputError
from mmrerank.models.mtm import KeySentences, MtmConfig, MtmNetwork, RougeTransformer, first_memory, moved_memory, rouge2, within_quantiles
from mmrerank.parts import options_of
from mmrerank.rerankers.mtm import Options as RerankerOptions
from mmrerank.rerankers.mtm import sentences_of
from mmrerank.training.collate import Sample
from mmrerank.training.networks._lists import NetworkTrainee, by_group, by_list, checked_options, frozen_below, loaded_bert, plain
from mmrerank.training.recipe import Model, Stage
from mmrerank.training.trainee import Collated
from mmrerank.types import Array

OVERLAP = "overlap"  # the loss of the first stage
LOOKED_AT = 100  # queries of a stage by which the memory is moved


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """A batch of the first stage."""

    texts: tuple[tuple[str, str], ...]  # claim and sentence
    rouge: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Articles:
    """A batch of lists, with what is read of each article."""

    samples: tuple[Sample, ...]
    claims: tuple[str, ...]  # one an article
    read: tuple[tuple[str, ...], ...]
    chosen: tuple[KeySentences, ...]


class MtmTrainee(NetworkTrainee):
    """The network with what its losses read."""

    def __init__(self, network: MtmNetwork, origin: str, frozen_layers: int) -> None:
        super().__init__(network, origin)
        self.rouge = RougeTransformer(network.encoder)
        self._frozen_layers = max(1, frozen_layers)

    @property
    def trained(self) -> dict[str, Any]:
        """What any of the stages changes, by name; the memory too, which no gradient moves."""
        return {**dict(self.named_parameters()), "network.memory": self.network.memory}

    def collator(self, stage: Stage) -> Collated:
        """Pairs or articles, by the sentences that the stage's reranker looks at."""
        plain(stage)
        most = options_of(stage.reranker, RerankerOptions).sentences
        return (lambda samples: self._pairs(samples, most)) if stage.loss == OVERLAP else (lambda samples: self.articles(samples, most))

    def begin(self, stage: Stage, samples: Sequence[Sample], *, resumes: bool) -> None:
        """Opens the weights that the stage trains, and makes the memory before the first stage over articles."""
        quotes = stage.loss == OVERLAP
        self.requires_grad_(not quotes)
        if quotes:
            for weight in (*self.rouge.taught().values(), *self.rouge.pooler.parameters(), *self.rouge.head.parameters()):
                weight.requires_grad_(True)
            return
        self.rouge.requires_grad_(False)
        self.network.encoder.requires_grad_(True)
        frozen_below(self.network.encoder, self._frozen_layers)
        if not resumes and not self.network.memory.any():
            self._remember(samples, options_of(stage.reranker, RerankerOptions).sentences)

    def finish(self, stage: Stage, samples: Sequence[Sample]) -> None:
        """Moves the memory after a stage over articles."""
        if stage.loss != OVERLAP:
            self._move(samples, options_of(stage.reranker, RerankerOptions).sentences, stage.groups)

    def forward(self, batch: Pairs | Articles, wanted: Collection[str] = ()) -> dict[str, Tensor | None]:
        """Overlaps (n_pairs, 2) and what they are; or scores (n_groups, n_candidates), the log-odds that an article checks the claim."""
        if isinstance(batch, Pairs):
            ids, mask, types, _ = self.network.pairs(batch.texts)
            rouge = torch.tensor(batch.rouge, device=self.network.device)
            return {"overlaps": self.rouge(ids, mask, types), "rouge": rouge, "drift": self.rouge.anchor()}
        both = by_list(self._logits(batch).flip(-1), batch.samples)  # (n_groups, n_candidates, 2): yes, no
        return {**by_group(batch.samples, both.device), "logits": both, "scores": both[..., 0] - both[..., 1]}

    def articles(self, samples: Sequence[Sample], most: int) -> Articles:
        """A batch of lists; what is read of each article is chosen by the memory as it is now.

        Raises:
            InputError: an article has no text.
        """
        texts = tuple(_texts(samples, most))
        chosen = tuple(self.network.selected(claim, sentences) for claim, sentences in texts)
        read = tuple(tuple(sentences[n] for n in some.places) for (_, sentences), some in zip(texts, chosen, strict=True))
        return Articles(samples=tuple(samples), claims=tuple(claim for claim, _ in texts), read=read, chosen=chosen)

    def _pairs(self, samples: Sequence[Sample], most: int) -> Pairs:
        config, tokens = self.network.config, self.network.tokens
        pairs: dict[tuple[float, float], tuple[str, str]] = {}
        for claim, sentences in _texts(samples, most):
            own = tokens(claim, config.claim_tokens)
            for sentence in sentences:
                pairs.setdefault(rouge2(tokens(sentence, config.sentence_tokens), own), (claim, sentence))
        return Pairs(texts=tuple(pairs.values()), rouge=tuple(pairs))

    def _logits(self, batch: Articles) -> Tensor:
        weights, patterns = ([getattr(one, name) for one in batch.chosen] for name in ("weights", "patterns"))
        result: Tensor = self.network(batch.claims, batch.read, weights, patterns)
        return result

    def _remember(self, samples: Sequence[Sample], most: int) -> None:
        """The first memory: clusters of what the sentences of right articles have beyond their claims."""
        once = {one.query.query_id: one for one in samples}
        residuals = np.concatenate([self._residuals(*texts) for texts in _texts(once.values(), most, right=True)])
        chosen = residuals[within_quantiles(np.linalg.norm(residuals, axis=1))]
        count = self.network.config.patterns
        if len(chosen) < count:
            raise InputError(f"{len(chosen)} sentences of right articles are too few for {count} patterns", hint="Set patterns lower.")
        self.network.memory.copy_(torch.from_numpy(first_memory(chosen, count)))

    def _residuals(self, claim: str, sentences: Sequence[str]) -> Array:
        """(n, D)."""
        rows = self.network.vectors([claim, *sentences])
        result: Array = rows[1:] - rows[0]
        return result

    @torch.no_grad()
    def _move(self, samples: Sequence[Sample], most: int, at_once: int) -> None:
        """The memory after a stage, by what the network says of the articles that it saw."""
        trains = self.training
        self.eval()
        residuals: list[Array] = []
        patterns: list[int] = []
        trust: list[float] = []
        labels: list[int] = []
        for start in range(0, min(LOOKED_AT, len(samples)), at_once):
            batch = self.articles([samples[n] for n in range(start, min(start + at_once, len(samples)))], most)
            shares = self._logits(batch).softmax(-1).cpu().numpy()  # (n, 2)
            grades = [int(grade > 0) for one in batch.samples for grade in one.grades]
            for claim, read, chosen, share, grade in zip(batch.claims, batch.read, batch.chosen, shares, grades, strict=True):
                residuals.append(self._residuals(claim, read))
                patterns += chosen.patterns
                trust += [float(share[grade])] * len(read)
                labels += [grade] * len(read)
        self.train(trains)
        memory = moved_memory(self.network.memory.cpu().numpy(), np.concatenate(residuals), patterns, trust, labels)
        self.network.memory.copy_(torch.from_numpy(memory))


def _texts(samples: Iterable[Sample], most: int, *, right: bool = False) -> Iterator[tuple[str, list[str]]]:
    """The claim and the sentences of each article, or of each that is right.

    Raises:
        InputError: an article has no text.
    """
    for sample in samples:
        for candidate, grade in zip(sample.candidates, sample.grades, strict=True):
            if right and grade <= 0:
                continue
            sentences = sentences_of(candidate.item)[:most]
            if not sentences:
                raise InputError(f"candidate {candidate.item.item_id!r} of query {sample.query.query_id!r} has no text")
            yield sample.query.text or "", sentences


def build(model: Model, root: Path, seed: int) -> MtmTrainee:
    """The network over a BERT, with new maps and an empty memory.

    Raises:
        InputError: no base is named, or it is no BERT.
        UnknownName: an option that there is none of.
    """
    config = checked_options(model, MtmConfig)
    encoder, tokenizer = loaded_bert(model, root)
    torch.manual_seed(seed)
    network = MtmNetwork(encoder, tokenizer, config)
    for weight in network.maps.parameters():
        if weight.ndim > 1:
            nn.init.kaiming_normal_(weight, nonlinearity="relu")  # five maps of torch's own beginning let next to nothing through
    return MtmTrainee(network, model.base, model.frozen_layers)
