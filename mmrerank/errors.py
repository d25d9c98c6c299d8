"""Errors a user of mmrerank can meet, one tree.

    MMRerankError
    ├── InputError (ValueError)       what was given cannot be used
    │   ├── ShapeError                an array of the wrong shape
    │   └── UnknownName               no part, option or dataset of that name
    ├── FormatError                   a file is not what it should be: path, line
    ├── ManifestError                 a collection and an encoder or index disagree
    ├── DamagedData                   what is on disk no longer matches itself
    ├── MissingExtra (ImportError)    an optional library is not installed
    ├── BackendError                  an MLLM or a model hub did not answer: retryable or not
    └── AnswerError                   an MLLM's answer could not be read (raised only when strict)

A message says what was expected, what came and for which item; `hint` says what to do. The doors map the tree to exit
codes and status codes by type, never by words in the text.
"""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path


def with_hint(message: str, hint: str) -> str:
    """Message and hint as one text, set apart by a stop.

    >>> with_hint("no URL is fetched here", "Send the picture."), with_hint("no file", "")
    ('no URL is fetched here. Send the picture.', 'no file')
    """
    if not hint:
        return message
    return f"{message} {hint}" if message.endswith((".", "!", "?", ":")) else f"{message}. {hint}"


class MMRerankError(Exception):
    """What all errors of the package share: a message and a hint, which may be empty."""

    code = ""  # what programs read in JSON where that is not the name of the class

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return with_hint(self.message, self.hint)

    @property
    def type(self) -> str:
        """What programs read in JSON: it stays when a class is renamed or told apart further."""
        return self.code or self.__class__.__name__


class InputError(MMRerankError, ValueError):
    """What was given cannot be used."""


class ShapeError(InputError):
    """An array has the wrong shape; the message gives the shape expected and the shape that came."""


class UnknownName(InputError):
    """No part, option or dataset has that name; the message gives the real names and the nearest."""

    @classmethod
    def among(cls, kind: str, name: str, choices: Iterable[str]) -> UnknownName:
        """The error for `name`, with every known name and the nearest one.

        >>> print(UnknownName.among("reranker", "superglobl", ["square", "superglobal"]))
        no reranker is called 'superglobl'; there are: square, superglobal. Did you mean 'superglobal'?
        """
        names = sorted(choices)
        nearest = get_close_matches(name, names, n=1)
        hint = f"Did you mean {nearest[0]!r}?" if nearest else ""
        return cls(f"no {kind} is called {name!r}; there are: {', '.join(names) or 'none'}.", hint=hint)


class FormatError(MMRerankError):
    """A file is not what it should be."""

    def __init__(self, message: str, *, path: str | Path, line: int | None = None, hint: str = "") -> None:
        place = f"{path}:{line}" if line is not None else str(path)
        super().__init__(f"{place}: {message}", hint=hint)
        self.path = str(path)
        self.line = line
        self.reason = message


class ManifestError(MMRerankError):
    """A collection and an encoder or index disagree; the message names both."""


class DamagedData(MMRerankError):
    """What is on disk no longer matches itself and cannot be rebuilt from the rest."""


class MissingExtra(MMRerankError, ImportError):
    """An optional library is not installed; the hint is the install line."""

    @classmethod
    def of(cls, library: str, extra: str, purpose: str) -> MissingExtra:
        """The error for `library`, which the extra `extra` installs."""
        return cls(f"{purpose} needs {library}, which is not installed.", hint=f"Install it: pip install 'mmrerank[{extra}]'")


class BackendError(MMRerankError):
    """A model behind a backend or a hub did not answer."""

    def __init__(self, message: str, *, retryable: bool = False, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retryable = retryable


class AnswerError(MMRerankError):
    """An MLLM's answer could not be read; raised only where the caller asked to be strict."""
