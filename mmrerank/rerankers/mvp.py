"""Orders all candidates in one decoding step: each is read beside the query as some views, and each view has one anchor for the whole list.

    e_ik = view k of candidate i     a_k = one step over e_1k ... e_nk     s_i = mean over k of a_k . e_ik

    mvp/PATH(views=4)        a folder of T5 such as Jun421/MVP-base, or one that `mmrerank train` wrote

Source: MVP (arXiv 2509.07485, code PirateEra/MVP), by its note; the networks are `models/mvp.py`. Read there: the layout, four views, 256
tokens for web passages and 512 or 1,024 for longer ones, titles before texts, no window whatever the length of the list. Ours: ties keep
their order, what each view says is told, candidates without text stay behind.

The released checkpoints do not say how many views they have, and run with another number without a word: `views` is part of the name.
Texts only: what a query says in pictures or excludes is left aside, which is noted. Scores of two lists do not compare.

Cost per query: one pass of the encoder a candidate, batched, and one decoding step a view; nothing is generated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import Field

from mmrerank.errors import InputError
from mmrerank.ordering import MODEL_ROUNDING, best_first, levelled
from mmrerank.parts import always_named, printed, runtime_option
from mmrerank.prompting.items import gather
from mmrerank.rerankers._rankings import obstacle_notes, without_text
from mmrerank.types import Array, Candidate, Explanation, Item, Modality, Notes, Query, Ranking

if TYPE_CHECKING:
    from mmrerank.models.mvp import EncoderViews, Views

LOOKS_AT: frozenset[Modality] = frozenset({"text"})
QUERY_WORDS, WORDS = 64, 1024  # of the query and of a text, before tokens are cut


@dataclass(frozen=True, kw_only=True)
class Options:
    checkpoint: str = ""  # folder or name on the hub
    revision: str = "main"  # of a name on the hub
    views: Annotated[int, Field(ge=1)] = always_named(4)  # as it was trained
    length: Annotated[int, Field(ge=16)] = 256  # tokens of a query with a passage
    device: str = runtime_option("auto")
    batch_size: Annotated[int, Field(ge=1)] = runtime_option(16)  # candidates in one pass of the encoder


class Mvp:
    """Reranks a list as a whole by the anchors of its views."""

    def __init__(self, options: Options, network: Views) -> None:
        self.name = printed("mvp", options, argument=True) if options.checkpoint else printed("mvp", options)
        self._options, self._network = options, network

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The candidates by the mean over their views, equal ones in the incoming order; those without text behind, with the reason.

        A query without text leaves the order as it came.

        Raises:
            InputError: the query leaves no room for a passage.
        """
        if not query.text:
            return without_text(query, candidates)
        texts, obstacles = gather(candidates, text_of)
        by_view = self._scores(question_of(query), list(texts.values()))  # (m, n)
        level = levelled(by_view.mean(axis=0), rounding=MODEL_ROUNDING)
        places = {position: place for place, position in enumerate(texts)}
        order = [list(texts)[place] for place in best_first(level)]
        notices, why_not = obstacle_notes(candidates, obstacles, "not shown to the model")
        ranked = [Candidate(item=candidates[n].item, score=(raw := float(level[places[n]])), raw_score=raw) for n in order]
        ranks = np.argsort(np.argsort(-by_view, axis=1, kind="stable"), axis=1) + 1  # (m, n), from 1
        ranks_of = {n: f"score {level[places[n]]:.3f}; rank by view: {', '.join(map(str, ranks[:, places[n]]))}" for n in order}
        notes = Notes(
            status="ok" if not obstacles else "completed" if order else "fallback",
            messages=(*query.left_aside("text"), *notices),
            reasons={candidates[n].item.item_id: reason for n, reason in (ranks_of | why_not).items()},
            explanations={candidates[n].item.item_id: _explained(by_view[:, places[n]]) for n in order},
        )
        behind = [Candidate(item=candidates[n].item) for n in obstacles]
        return Ranking(query_id=query.query_id, candidates=(*ranked, *behind), notes=notes)

    def _scores(self, query: str, texts: list[str]) -> Array:
        """(m, n)."""
        options = self._options
        if not texts:
            return np.zeros((self._network.views, 0), dtype=np.float32)
        scores: Array = self._network.view_scores(query, texts, length=options.length, batch=options.batch_size).numpy()
        return scores


def _explained(scores: Array) -> Explanation:
    return Explanation(scores={f"view {k + 1}": float(score) for k, score in enumerate(scores)})


def question_of(query: Query) -> str:
    """The words of a query, as the network is shown them."""
    return " ".join((query.text or "").split()[:QUERY_WORDS])


def text_of(item: Item) -> str:
    """The title and the text of an item, as the network is shown them.

    Raises:
        InputError: it has no text.
    """
    title = item.metadata.get("title")
    text = " ".join(f"{title if isinstance(title, str) else ''} {item.text or ''}".split()[:WORDS])
    if not text:
        raise InputError("it has no text")
    return text


def build(options: Options) -> Mvp:
    """The reranker with its checkpoint; errors as of `load_views`.

    Raises:
        InputError: no checkpoint is named.
    """
    if not options.checkpoint:
        raise InputError("mvp needs a checkpoint", hint="Write mvp/PATH, or a name on the hub such as mvp/Jun421/MVP-base.")
    from mmrerank.models.mvp import load_views

    return Mvp(options, load_views(options.checkpoint, views=options.views, revision=options.revision, device=options.device))


def tiny() -> Mvp:
    """A BERT with seeded random weights over letters, whose scores mean nothing."""
    return Mvp(Options(), _tiny_views(4))


@cache
def _tiny_views(views: int) -> EncoderViews:
    import torch
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    from mmrerank.models.mvp import EncoderViews

    letters = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *(f"[unused{k}]" for k in range(8)), *"abcdefghijklmnopqrstuvwxyz0123456789 "]
    tokenizer = Tokenizer(models.WordLevel({letter: n for n, letter in enumerate(letters)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 32}
    encoder = BertModel(BertConfig(vocab_size=len(letters), initializer_range=0.5, **sizes), add_pooling_layer=False)
    return EncoderViews(encoder, PreTrainedTokenizerFast(tokenizer_object=tokenizer, **names), views).eval()
