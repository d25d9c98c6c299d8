"""What is fitted on judged candidates, and the file it is kept in beside what it was fitted with.

Scores of another model, prompt or method mean something else, so that what was fitted on one is refused for the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias, TypeVar, runtime_checkable

from mmrerank.errors import FormatError, ManifestError
from mmrerank.parts import StagedReranker
from mmrerank.prompting.files import PromptText
from mmrerank.protocols import Backend, Reranker, innermost
from mmrerank.text_files import read_toml, write_text
from mmrerank.types import Candidate, Query

T = TypeVar("T")
Judged: TypeAlias = "Iterable[tuple[Query, Sequence[Candidate], Iterable[str]]]"  # queries, candidates, ids of the relevant ones


@runtime_checkable
class AsksModel(Protocol):
    """A reranker that asks an MLLM by a prompt file."""

    prompt: PromptText
    backend: Backend


class Origin(NamedTuple):
    """What gives scores their meaning beside the method; both are empty where no model is asked."""

    backend: str
    prompt_digest: str


def origin(reranker: Reranker) -> Origin:
    """The model and the prompt behind the scores of a reranker."""
    method = innermost(reranker)
    return Origin(method.backend.name, method.prompt.digest) if isinstance(method, AsksModel) else Origin("", "")


def method_of(reranker: Reranker) -> Reranker:
    """The reranker itself, within a stage whose name says a depth or a model: the scores are its."""
    method: Reranker = reranker.within if isinstance(reranker, StagedReranker) else reranker
    return method


def judged_values(reranker: Reranker, judged: Judged, value: Callable[[Candidate], float | None]) -> list[tuple[list[float], list[float]]]:
    """Of each query the values of its relevant and of its irrelevant candidates, as the reranker scores them."""
    return [_split(reranker.rerank(query, candidates).candidates, set(relevant), value) for query, candidates, relevant in judged]


def _split(
    candidates: Sequence[Candidate], relevant: set[str], value: Callable[[Candidate], float | None]
) -> tuple[list[float], list[float]]:
    good: list[float] = []
    bad: list[float] = []
    for candidate in candidates:
        number = value(candidate)
        if number is not None:
            (good if candidate.item.item_id in relevant else bad).append(number)
    return good, bad


def save(record: Any, path: str | Path) -> None:
    """Writes the fields of a dataclass as TOML."""
    import tomli_w

    write_text(path, tomli_w.dumps(asdict(record)))


def load(record: type[T], path: str | Path, what: str, *, hint: str, otherwise: str, now: Mapping[str, str]) -> T:
    """The record in a file that `save` wrote.

    Args:
        what: is called so in errors, such as "threshold".
        hint: how such a file is made.
        otherwise: what to do where it belongs to something else.
        now: fields that must be as they were when it was fitted.

    Raises:
        FormatError: the file is absent or not of that form.
        ManifestError: one of these fields differs.
    """
    try:
        fitted = record(**read_toml(path, hint=hint))
    except TypeError as error:
        raise FormatError(f"no {what} can be read: {error}", path=path, hint=hint) from error
    then = {name: getattr(fitted, name) for name in now}
    if then != dict(now):
        before, after = (_fields(fields) for fields in (then, now))
        raise ManifestError(f"the {what} in {path} was fitted with {before}; now it is {after}.", hint=otherwise)
    return fitted


def _fields(fields: Mapping[str, str]) -> str:
    words = {"backend": "model", "prompt_digest": "prompt"}
    return ", ".join(f"{words.get(name, name)} {value!r}" for name, value in fields.items())
