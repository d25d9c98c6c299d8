"""How results and errors leave: text for people, one JSON object for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mmrerank.errors import BackendError, DamagedData, MMRerankError, UnknownName

UsageError: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "UsageError")  # click's, or typer's own copy of it
INPUT, USAGE, BACKEND, DAMAGED = 1, 2, 3, 4


def exit_code(error: MMRerankError) -> int:
    """The exit code for an error, by its type."""
    codes = {DamagedData: DAMAGED, BackendError: BACKEND, UnknownName: USAGE}
    return next((code for kind, code in codes.items() if isinstance(error, kind)), INPUT)


def emit(result: Mapping[str, Any]) -> None:
    """One JSON object on stdout."""
    sys.stdout.write(json.dumps(result, ensure_ascii=False, default=str) + "\n")


def piece(text: str) -> None:
    """A part of a result for people, on stdout at once."""
    sys.stdout.write(text)
    sys.stdout.flush()


def say(text: str) -> None:
    """A line about what goes on, on stderr at once."""
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


def out() -> Console:
    """Where results for people go."""
    return Console(file=sys.stdout, highlight=False, soft_wrap=True)


def fail(error: MMRerankError, *, as_json: bool) -> int:
    _tell(error.type, error.message, error.hint, as_json)
    return exit_code(error)


def fail_usage(error: Any, *, as_json: bool) -> int:
    if not error.format_message():  # no command was named, and the help stands there already
        return USAGE
    where = f" See: {error.ctx.command_path} --help" if error.ctx else ""
    _tell("UsageError", error.format_message(), where.strip(), as_json)
    return USAGE


def _tell(kind: str, message: str, hint: str, as_json: bool) -> None:
    if as_json:
        emit({"error": {"type": kind, "message": message, "hint": hint}})
        return
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print(f"[bold red]{kind}[/]", end=": ")
    console.print(message, markup=False)
    if hint:
        console.print(hint, markup=False, style="dim")


@contextmanager
def progress_bar(what: str) -> Iterator[Any]:
    """A progress bar on stderr; yields the function that takes items done and expected."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, expected: bar.update(task, completed=done, total=expected or None)
