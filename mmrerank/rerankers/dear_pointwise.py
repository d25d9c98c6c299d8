"""Scores each candidate by a decoder with one scoring head that was distilled from a larger one: the first stage of DeAR.

    BOS "query: " q  BOS "document: " text --decoder--> state of the last token --head--> raw = score, one logit

Source: DeAR (arXiv 2508.16998, code DataScienceUIBK/DeAR-Reranking at c31c739), by its notes. Read there: the two segments, each behind a
BOS; the query cut at 32 tokens, the document at 193, 228 in all; one logit, no sigmoid; LoRA adapters; over the first 100, before
`dear_listwise` over 30 of them. Where the score is read in the released code is not certain: its padding is not the one that its
configuration names, so that it may be read at the last of 228 places, behind the text. `read="padded"` does so, and which one fits a
released checkpoint shows on judged data. Ours: the last token as the default, the prefix counted among a segment's tokens, float32 in the
head, control tokens of a text read as letters.

Texts only: what the query says in pictures or excludes is not looked at, and a message says so.

    --rerank "dear_pointwise/PATH(depth=100)" --rerank "dear_listwise(depth=30)/local/PATH"

Cost per query: one forward pass a candidate of at most 228 tokens, batched; nothing is generated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from mmrerank.errors import InputError
from mmrerank.parts import printed, runtime_option
from mmrerank.rerankers._cross_encoder import Predictor, cross_encoder
from mmrerank.rerankers._rankings import without_text
from mmrerank.testing.fakes import FakePredictor
from mmrerank.types import Candidate, Modality, Query, Ranking

if TYPE_CHECKING:
    from mmrerank.models.scoring_decoder import ScoringDecoder

QUERY_TOKENS, DOCUMENT_TOKENS, PLACES = 32, 193, 228
WORDS = 400  # of a text, before its tokens are cut
LOOKS_AT: frozenset[Modality] = frozenset({"text"})


@dataclass(frozen=True, kw_only=True)
class Options:
    checkpoint: str = ""  # folder of a whole checkpoint or of a LoRA adapter, or a name on the hub
    revision: str = "main"  # of a name on the hub
    base: str = ""  # of an adapter, in place of the one that it names
    read: Literal["last_token", "padded"] = "last_token"  # where the score is read; padded: behind the text, at the last of 228 places
    precision: Literal["auto", "fp32", "fp16", "bf16"] = "auto"  # auto: as saved on a GPU, fp32 on a CPU
    device: str = runtime_option("auto")  # cpu, cuda, or cuda where there is one
    batch: int = runtime_option(16)  # pairs in one forward pass

    def __post_init__(self) -> None:
        if self.batch < 1:
            raise InputError(f"batch counts from 1; got {self.batch}")


class DearPointwise:
    """Reranks pointwise by a distilled scoring head."""

    pointwise = True  # a score depends on the query and this candidate alone

    def __init__(self, options: Options, predictor: Predictor) -> None:
        self.name = printed("dear_pointwise", options, argument=True) if options.checkpoint else "dear_pointwise"
        self._options, self._predictor = options, predictor

    def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
        """The candidates by their logit, equal ones in the incoming order; those without text behind, with the reason.

        A query without text leaves the order as it came.
        """
        if not query.text:
            return without_text(query, candidates)
        return cross_encoder(query, candidates, self._predictor, words=WORDS, query_words=WORDS, batch=self._options.batch)


class PairScores:
    """A scoring decoder over pairs of texts in DeAR's layout."""

    def __init__(self, decoder: ScoringDecoder, *, padded: bool = False) -> None:
        self._decoder, self._padded = decoder, padded

    def predict(self, inputs: Sequence[tuple[Any, Any]]) -> npt.NDArray[np.float32]:
        """(n,) logits of pairs of texts."""
        return self._decoder.scores([self.ids(query, item) for query, item in inputs], read_at=PLACES - 1 if self._padded else None)

    def ids(self, query: str, item: str) -> list[int]:
        """The tokens of one pair, at most 227."""
        segments = ((f"query: {query}", QUERY_TOKENS), (f"document: {item}", DOCUMENT_TOKENS))
        begin = self._decoder.tokenizer.bos_token_id
        return [token for text, most in segments for token in (*([] if begin is None else [begin]), *self._tokens(text)[:most])]

    def _tokens(self, text: str) -> list[int]:
        """Of a text as it is written: what looks like a control token in it is none."""
        ids: list[int] = self._decoder.tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"]
        return ids


def build(options: Options) -> DearPointwise:
    """The reranker with its checkpoint.

    Raises:
        InputError: no checkpoint is named, or it is not there.
        FormatError: it is no decoder with a trained scoring head.
    """
    if not options.checkpoint:
        raise InputError("dear_pointwise needs a checkpoint", hint="Write dear_pointwise/PATH, or a name on the hub.")
    from mmrerank.models.scoring_decoder import ScoringDecoder

    decoder = ScoringDecoder.load(
        options.checkpoint, revision=options.revision, base=options.base, precision=options.precision, device=options.device
    )
    return DearPointwise(options, PairScores(decoder, padded=options.read == "padded"))


def tiny() -> DearPointwise:
    """With a score that counts words in common."""
    return DearPointwise(Options(), FakePredictor())
