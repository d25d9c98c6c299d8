"""How results and errors leave: text for people, one JSON object for programs.

Whatever names and texts hold, and whatever encoding the pipe has, the result arrives: a character that the encoding lacks is written as
its escape, and control sequences do not reach a terminal.
"""

from __future__ import annotations

import _thread
import io
import json
import logging
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import typer

from mmrerank.errors import BackendError, DamagedData, MMRerankError, UnknownName
from mmrerank.texts import printable

if TYPE_CHECKING:
    from rich.console import Console

UsageError: Any = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "UsageError")  # click's, or typer's own copy of it
INPUT, USAGE, BACKEND, DAMAGED = 1, 2, 3, 4


_CONTROLS = {code: f"\\u{code:04x}" for code in (*range(0x7F, 0xA0), 0x2028, 0x2029)}  # which JSON may hold as they are


class Stopped(MMRerankError):
    """Somebody stopped the command: Ctrl-C, or a signal that asks it to end."""


def exit_code(error: MMRerankError) -> int:
    """The exit code for an error, by its type."""
    codes = {DamagedData: DAMAGED, BackendError: BACKEND, UnknownName: USAGE}
    return next((code for kind, code in codes.items() if isinstance(error, kind)), INPUT)


def open_to_any_text() -> None:
    """Lets text leave that the encoding of stdout or stderr lacks: as escapes, where Python would end the command in the middle."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


class LogFormatter(logging.Formatter):
    """Lines of the log without what acts on a terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


@contextmanager
def stoppable() -> Iterator[list[int]]:
    """Turns SIGTERM into what Ctrl-C does, so that what was begun is ended properly; gets the numbers of the signals that came.

    A server has a handler of its own, which it sets meanwhile.
    """
    signals: list[int] = []

    def stop(number: int, _: Any) -> None:
        signals.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield signals
        return

    def not_lost(lost: Any) -> None:
        """What is raised while an object is taken away, as a signal's exception may be, Python prints and drops: it comes again, once
        that is over."""
        if issubclass(lost.exc_type, KeyboardInterrupt):
            threading.Timer(0.01, _thread.interrupt_main, [signals[-1] if signals else signal.SIGINT]).start()
        else:
            others(lost)

    signal.signal(signal.SIGTERM, stop)
    others, sys.unraisablehook = sys.unraisablehook, not_lost
    try:
        yield signals
    finally:
        sys.unraisablehook = others
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def emit(result: Mapping[str, Any]) -> None:
    """One JSON object on stdout, in characters where its encoding has them all and in JSON's escapes where not."""
    text = json.dumps(result, ensure_ascii=False, default=str).translate(_CONTROLS)
    try:
        text.encode(sys.stdout.encoding or "utf-8")
    except UnicodeEncodeError:
        text = json.dumps(result, default=str).translate(_CONTROLS)
    sys.stdout.write(text + "\n")


def piece(text: str) -> None:
    """A part of a result for people, on stdout at once."""
    sys.stdout.write(printable(text))
    sys.stdout.flush()


def say(text: str) -> None:
    """A line about what goes on, on stderr at once."""
    sys.stderr.write(f"{printable(text)}\n")
    sys.stderr.flush()


def one_line(name: str) -> str:
    """A name that somebody else chose, as part of a line."""
    return printable(name).replace("\n", "\\n").replace("\t", "\\t")


def _console(**options: Any) -> Console:
    """Rich's console without the escape sequences in what it prints, which it would pass on to the terminal. Rich comes in here: help and
    JSON do without."""
    from rich.console import Console

    class PlainConsole(Console):
        def print(self, *objects: Any, **options: Any) -> None:
            super().print(*(printable(value) if isinstance(value, str) else value for value in objects), **options)

    return PlainConsole(highlight=False, soft_wrap=True, **options)


def out() -> Console:
    """Where results for people go."""
    return _console(file=sys.stdout)


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
        emit({"error": {"type": kind, "message": printable(message), "hint": printable(hint)}})
        return
    console = _console(stderr=True)
    console.print(f"[bold red]{kind}[/]", end=": ")
    console.print(message, markup=False)
    if hint:
        console.print(hint, markup=False, style="dim")


@contextmanager
def progress_bar(what: str) -> Iterator[Any]:
    """A progress bar on stderr; yields the function that takes items done and expected."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

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
