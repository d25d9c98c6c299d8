"""A finding, and checks that are guarded: what one raises is its finding, and the others go on."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import Literal

from mmrerank.errors import MMRerankError

UNKNOWN = "The message is what the model's side says; its own log may say more."
LONGEST = 200  # letters of what others say


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One check: passed, failed, or worth knowing; `mend` says what to do."""

    name: str
    level: Literal["ok", "note", "wrong"]
    detail: str
    mend: str = ""


def guarded(name: str, check: Callable[[], Finding]) -> Iterator[Finding]:
    """The finding of a check with the seconds it took, or what it raised."""
    start = time.perf_counter()
    try:
        finding = check()
    except MMRerankError as error:
        yield Finding(name=name, level="wrong", detail=error.message, mend=error.hint or UNKNOWN)
        return
    except Exception as error:  # of a part of somebody else's, which may raise anything; the other checks go on
        yield Finding(name=name, level="wrong", detail=f"raises {type(error).__name__}: {str(error)[:LONGEST]}", mend="Mend the part.")
        return
    seconds = f" ({time.perf_counter() - start:.1f} s)"
    yield replace(finding, detail=finding.detail + seconds)


def passed_on(findings: Iterator[Finding]) -> Generator[Finding, None, Finding]:
    """Passes the findings on; the last one is what a caller goes by."""
    last = Finding(name="", level="ok", detail="")
    for last in findings:
        yield last
    return last
