"""Prompts are TOML files: a version, and named pieces of text whose placeholders are checked when the file is read.

    version = "1"

    [pieces]
    system = "..."
    page = "Image {number}: "

A method says which pieces it needs and which placeholders each must have, and arranges them around the pictures. Braces
that are meant as such are doubled, as in `str.format`.
"""

from __future__ import annotations

import hashlib
import string
from collections.abc import Mapping, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeAlias, runtime_checkable

from mmrerank.errors import FormatError, UnknownName
from mmrerank.text_files import read_toml

SHIPPED = Path(__file__).parent / "prompts"
PromptLayout: TypeAlias = Literal["candidate_first", "question_first"]  # what of the two a model reads first


@dataclass(frozen=True, kw_only=True)
class PromptText:
    """A prompt file as read."""

    source: str  # shipped name or path
    version: str
    digest: str  # of the file's bytes, 16 hex digits; goes where a result says what made it
    pieces: Mapping[str, str]

    def fill(self, piece: str, **values: Any) -> str:
        """A piece with its placeholders filled."""
        return self.pieces[piece].format(**values)


@runtime_checkable
class PromptedPart(Protocol):
    """A part whose results hang on the words of a prompt."""

    prompt: PromptText


def laid_out(prompt: PromptText, layout: PromptLayout) -> PromptText:
    """The prompt as what a result says of it: what was fitted with one layout is refused for the other."""
    return prompt if layout == "candidate_first" else replace(prompt, digest=f"{prompt.digest}+{layout}")


def read_prompt(source: str, needed: Mapping[str, Set[str]]) -> PromptText:
    """The prompt of that shipped name, or in the file of that path (ending in .toml).

    Args:
        needed: piece -> the placeholders it must have, no more and no less.

    Raises:
        UnknownName: no prompt of that name ships.
        FormatError: the file is absent or no TOML, or a piece or placeholder is missing or not known.
    """
    path = Path(source) if source.endswith(".toml") else SHIPPED / f"{source}.toml"
    if not source.endswith(".toml") and not path.is_file():
        raise UnknownName.among("prompt", source, [file.stem for file in SHIPPED.glob("*.toml")])
    content = read_toml(path, hint=_FORM)
    pieces = content.get("pieces", {})
    if not isinstance(pieces, Mapping):
        raise FormatError(f"expected `pieces` as a table; got {type(pieces).__name__}", path=path, hint=_FORM)
    _check(pieces, needed, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
    return PromptText(source=source, version=str(content.get("version", "")), digest=digest, pieces=dict(pieces))


_FORM = "Expected a TOML file with `version` and a table [pieces] of texts; see mmrerank/prompting/prompts/."


def _check(pieces: Mapping[str, Any], needed: Mapping[str, Set[str]], path: Path) -> None:
    if set(pieces) != set(needed):
        raise FormatError(f"expected the pieces {_list(needed)}; got {_list(pieces)}", path=path, hint=_FORM)
    for name, wanted in needed.items():
        try:
            placeholders = {field for _, field, _, _ in string.Formatter().parse(pieces[name]) if field is not None}
        except (ValueError, TypeError) as error:
            raise FormatError(f"piece {name!r}: {error}", path=path, hint="Double the braces that are meant as such.") from error
        if placeholders != set(wanted):
            raise FormatError(f"piece {name!r}: expected the placeholders {_list(wanted)}; got {_list(placeholders)}", path=path)


def _list(names: Any) -> str:
    return ", ".join(sorted(names)) or "none"
