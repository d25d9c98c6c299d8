"""Cross-encoder: a network reads a query and one item together and gives the pair a score.

    (query, item) --predict--> one number a pair, as the network gives it          pointwise from there on

Anything with `predict(pairs) -> scores` will do; the `CrossEncoder` of sentence-transformers is one, whatever checkpoint it loads. Each
side of a pair is a text, or {"image": picture, "text": words} where pictures come in, as that library takes them. Texts are cut by words
before they come to a tokenizer, which cuts again: the end of a prompt, where such networks answer, must not be what is cut.

Pairs are predicted in batches of alike length, longest first, so that little is padded and memory that does not suffice is met at once;
the scores come back in the order of the candidates, and equal ones, rounding apart, keep it.

Used like this:

    from mmrerank.rerankers import cross_encoded
    from sentence_transformers import CrossEncoder
    ranking = cross_encoded(query, candidates, CrossEncoder("BAAI/bge-reranker-v2-m3"))

The part `cross_encoder/PATH` loads such a checkpoint itself, and refuses those whose scores would be noise. What a pair cannot carry
(exclusions, the pictures of a query where texts are read) is noted.

Cost per query: one forward pass a candidate, batched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from mmrerank.errors import BackendError, InputError, ShapeError
from mmrerank.ordering import MODEL_ROUNDING
from mmrerank.prompting.items import MAX_PIXELS, Display, Exhibit, ModalityChoice, open_within
from mmrerank.rerankers._pointwise import AT_ONCE, Scores, pointwise
from mmrerank.rerankers._rankings import with_messages
from mmrerank.types import Candidate, Query, Ranking

Side: TypeAlias = "str | dict[str, Any]"
PIXELS_A_LETTER = 200  # a picture costs about a token per 28 x 28 pixels, a text one per four letters


class Predictor(Protocol):
    """A cross-encoder."""

    def predict(self, inputs: list[tuple[Side, Side]], /) -> Any:
        """(n,) or (n, 1) scores of n pairs, higher is better; an array, a tensor on the CPU or a list."""
        ...


def cross_encoder(
    query: Query,
    candidates: Sequence[Candidate],
    predictor: Predictor,
    *,
    modality: ModalityChoice = "text",
    words: int = 400,
    query_words: int = 64,
    max_pixels: int = MAX_PIXELS,
    batch: int = 16,
    to_score: Callable[[float], float] = float,
    label: str = "score",
    threshold: float = -np.inf,
    rounding: float = MODEL_ROUNDING,
) -> Ranking:
    """The candidates by the predictor's scores, best first; those that cannot be shown behind, without a score and with the reason.

    Args:
        modality: what of an item the network sees.
        words: of each item's text.
        query_words: of the query's text.
        max_pixels: of each picture, the query's too where items are shown by picture.
        batch: pairs in one call of `predict`.
        to_score: a raw score on the scale that is shown to people; rising. Log-odds want `sigmoid`.
        label: what that scale is called, for reasons.
        threshold: the score from which a candidate is relevant.
        rounding: raw scores closer than this are equal; 1e-4 is for log-odds, give less where `predict` returns probabilities.

    Raises:
        InputError: the query is pictures alone, and items are shown by text.
        FormatError: a picture of the query cannot be opened.
        ShapeError: the predictor gives other than one score a pair.
        BackendError: a score is no number, which a network whose weights are missing gives.
    """
    display, unheeded = Display(query.text or "", modality, page_words=words, max_pixels=max_pixels), _unheeded(query, modality)
    pictures = [] if modality == "text" else [open_within(image, max_pixels) for image in query.images if candidates]
    query_side = _side(" ".join((query.text or "").split()[:query_words]), pictures)

    def judge(exhibits: Sequence[Exhibit]) -> Scores:
        return Scores(raw=_predict(predictor, query_side, exhibits, batch))

    ranking = pointwise(
        query,
        candidates,
        show=display.show,
        judge=judge,
        to_score=to_score,
        label=label,
        threshold=threshold,
        rounding=rounding,
        at_once=max(len(candidates), 1) if modality == "text" else AT_ONCE,  # texts alone need no thrift
    )
    return with_messages(ranking, [*unheeded, *display.choices] if candidates else [])


def _unheeded(query: Query, modality: ModalityChoice) -> list[str]:
    """What of the query no pair carries.

    Raises:
        InputError: that is all of it.
    """
    if modality == "text" and not query.text:
        hint = "Give the query a text, or take a checkpoint that reads pictures, with modality='both'."
        raise InputError("the query is pictures alone, and the cross-encoder is shown texts", hint=hint)
    notes = ["the pictures of the query are not shown: the cross-encoder is shown texts"] if modality == "text" and query.images else []
    if query.exclude_text or query.exclude_images:
        notes.append("what must not be there is not told to the cross-encoder: a pair has no place for it")
    return notes


def _predict(predictor: Predictor, query: Side, exhibits: Sequence[Exhibit], batch: int) -> npt.NDArray[np.float64]:
    """The score of each pair, predicted by length."""
    lengths = np.array([_length(exhibit) for exhibit in exhibits])
    order = np.argsort(-lengths, kind="stable")
    scores = np.empty(len(exhibits))
    for start in range(0, len(order), batch):
        places = order[start : start + batch]
        pairs = [(query, _side(exhibits[n].text, [] if exhibits[n].picture is None else [exhibits[n].picture])) for n in places]
        values = np.asarray(predictor.predict(pairs), dtype=np.float64)
        if values.shape not in ((len(pairs),), (len(pairs), 1)):
            raise ShapeError(f"expected one score for each of {len(pairs)} pairs; got an array of shape {values.shape}")
        scores[places] = values.reshape(len(pairs))
    if not np.isfinite(scores).all():
        raise BackendError(f"the cross-encoder gives {int((~np.isfinite(scores)).sum())} of {len(scores)} pairs a score that is no number")
    return scores


def _side(text: str, pictures: Sequence[Any]) -> Side:
    """One side of a pair: words alone as they are; with pictures a dict, a single picture without a list around it."""
    if not pictures:
        return text
    image = pictures[0] if len(pictures) == 1 else list(pictures)
    return {"image": image, **({"text": text} if text else {})}


def _length(exhibit: Exhibit) -> int:
    """About how long a pair gets, in letters."""
    pixels = 0 if exhibit.picture is None else exhibit.picture.width * exhibit.picture.height
    return len(exhibit.text) + pixels // PIXELS_A_LETTER
