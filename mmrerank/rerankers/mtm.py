"""Finds the article that checked a claim by its key sentences: those that quote the claim, and those that speak as such articles do.

    article -> sentences -> the best few by event and pattern -> BERT(claim, sentence) with patterns -> log-odds

    mtm/FOLDER        a network that `mmrerank train` wrote; none is published

Source: MTM (arXiv 2112.10322, code ICTMCG/MTM), by its note; the network is `models/mtm.py`. Read there: sentences chosen anew for each
pair, five of them, the logit of the second class where the layers are the released ones. Ours: log-odds where they are the mended ones, the
sentences as the reason, articles without a sentence behind the others.

Sentences are what a line break, or a full stop, question or exclamation mark before a capital, divides. Texts only: what a query says in
pictures or excludes is left aside, which is noted.

Cost per query: word vectors of all sentences, and a forward pass over at most five of each candidate.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from mmrerank.errors import InputError
from mmrerank.parts import printed, runtime_option
from mmrerank.rerankers._pointwise import AT_ONCE, Scores, pointwise, sigmoid
from mmrerank.rerankers._rankings import with_messages, without_text
from mmrerank.types import Candidate, Explanation, Item, Modality, Query, Ranking

if TYPE_CHECKING:
    from mmrerank.models.mtm import KeySentences, MtmNetwork

LOOKS_AT: frozenset[Modality] = frozenset({"text"})
LETTERS = 160  # letters of a sentence in a reason
_BETWEEN = re.compile(r"\n+|(?:(?<=[.!?…])|(?<=[.!?…][\"”’)]))\s+(?=[\"“‘(]?[^\W\d_a-z])")


@dataclass(frozen=True, kw_only=True)
class Options:
    checkpoint: str = ""  # folder
    sentences: Annotated[int, Field(ge=1)] = 256  # of an article that are looked at, from its beginning
    device: str = runtime_option("auto")
    batch_size: Annotated[int, Field(ge=1)] = runtime_option(16)  # articles in one pass


class Mtm:
    """Reranks pointwise by the key sentences of each article."""

    pointwise = True  # a score depends on the query and this candidate alone

    def __init__(self, options: Options, network: MtmNetwork) -> None:
        self.name = printed("mtm", options, argument=True) if options.checkpoint else printed("mtm", options)
        self._options, self._network = options, network

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The candidates by their logit, equal ones in the incoming order; those without text behind, with the reason.

        A query without text leaves the order as it came.
        """
        if not query.text:
            return without_text(query, candidates)
        claim = query.text

        def judge(articles: Sequence[list[str]]) -> Scores:
            return self._scores(claim, articles)

        to_score = float if self._network.config.released else sigmoid
        ranking = pointwise(query, candidates, show=self._sentences, judge=judge, to_score=to_score, at_once=max(AT_ONCE, len(candidates)))
        return with_messages(ranking, query.left_aside("text") if candidates else [])

    def _sentences(self, item: Item) -> list[str]:
        some = sentences_of(item)[: self._options.sentences]
        if not some:
            raise InputError("it has no text")
        return some

    def _scores(self, claim: str, articles: Sequence[list[str]]) -> Scores:
        import torch

        network = self._network
        chosen = [network.selected(claim, article) for article in articles]
        raw = np.zeros(len(articles), dtype=np.float32)
        order = np.argsort([-sum(map(len, article)) for article in articles], kind="stable")
        for start in range(0, len(order), self._options.batch_size):
            places = order[start : start + self._options.batch_size]
            some = [chosen[n] for n in places]
            read = [[articles[n][place] for place in one.places] for n, one in zip(places, some, strict=True)]
            with torch.inference_mode():
                logits = network([claim] * len(places), read, [one.weights for one in some], [one.patterns for one in some])
            odds = logits[:, 1] if network.config.released else logits[:, 1] - logits[:, 0]
            raw[places] = odds.float().cpu().numpy()
        return Scores(raw=raw, explanations=[_explained(article, one) for article, one in zip(articles, chosen, strict=True)])


def sentences_of(item: Item) -> list[str]:
    """The title of an item, where it has one, and the sentences of its text.

    >>> sentences_of(Item(item_id="a", text="He said so. It is not true!\\nSee 3. below."))
    ['He said so.', 'It is not true!', 'See 3. below.']
    """
    title = item.metadata.get("title")
    pieces = [title if isinstance(title, str) else "", *_BETWEEN.split(item.text or "")]
    return [" ".join(piece.split()) for piece in pieces if piece and piece.strip()]


def _explained(article: Sequence[str], chosen: KeySentences) -> Explanation:
    """The sentences that were read, with what they weigh and the pattern that they are nearest to."""
    each = zip(chosen.places, chosen.weights, chosen.patterns, strict=True)
    return Explanation(steps=tuple(f"{weight:.2f}, pattern {pattern}: {article[place][:LETTERS]}" for place, weight, pattern in each))


def build(options: Options) -> Mtm:
    """The reranker with its network.

    Raises:
        InputError: no folder is named.
        FormatError: the folder holds none.
    """
    if not options.checkpoint:
        raise InputError("mtm needs a network", hint="Write mtm/FOLDER; `mmrerank train` makes one.")
    import torch

    from mmrerank.models.mtm import MtmNetwork

    place = ("cuda" if torch.cuda.is_available() else "cpu") if options.device == "auto" else options.device
    return Mtm(options, MtmNetwork.load(Path(options.checkpoint)).to(place))


def tiny() -> Mtm:
    """A BERT over letters with seeded random weights, whose scores mean nothing."""
    return Mtm(Options(), _tiny())


@cache
def _tiny() -> MtmNetwork:
    import torch
    from transformers import BertConfig, BertModel

    from mmrerank.models.mtm import MtmConfig, MtmNetwork
    from mmrerank.rerankers.cross_encoder import letter_tokenizer

    tokenizer = letter_tokenizer()
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    encoder = BertModel(BertConfig(vocab_size=len(tokenizer), initializer_range=0.5, **sizes), add_pooling_layer=False)
    network = MtmNetwork(encoder, tokenizer, MtmConfig(sentences=2, patterns=3))
    torch.nn.init.normal_(network.memory)
    return network.eval()
