"""The command line: one file per verb, no logic of its own. Results on stdout, logs and progress on stderr.

Exit codes: 0 done, 1 input, 2 usage, 3 backend, 4 damaged data; by the type of the error, never by its words. 130 after Ctrl-C, 143 after
SIGTERM, as shells count.
"""

from __future__ import annotations

import atexit
import gc
import logging
import os
import signal
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Annotated, Any

import typer

from mmrerank import __version__
from mmrerank.cli import _output, _passwords, _server_keys
from mmrerank.cli._guide import GUIDE
from mmrerank.errors import InputError, MMRerankError

logger = logging.getLogger(__name__)
_STOPPED = 128 + signal.SIGINT


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"mmrerank {__version__}")
        raise typer.Exit


def _options(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """Find the right picture or document page and put it first."""
    if os.environ.get(_passwords.VARIABLE):
        _passwords.use(())
    if os.environ.get(_server_keys.VARIABLE):
        _server_keys.use()
    if context.invoked_subcommand is None:
        typer.echo(GUIDE, nl=False)


COMMANDS = {  # verb -> its file, which has a function of that name
    "index": "index",
    "search": "search",
    "ask": "ask",
    "rerank": "rerank",
    "evaluate": "evaluate",
    "train": "train",
    "remove": "remove",
    "info": "info",
    "verify": "verify",
    "export": "export",
    "list": "list_parts",
    "serve": "serve",
    "mcp": "mcp_server",
    "doctor": "doctor",
    "demo": "demo",
}


def app_of(verbs: Iterable[str]) -> typer.Typer:
    """The command line with these verbs. Typer reads the options of every verb that it has before it does anything, which takes longer than
    most else that a search starts with."""
    one = typer.Typer(
        name="mmrerank",
        invoke_without_command=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,  # rich draws boxes around help, and takes longer to import than all else that help needs
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    one.callback()(_options)
    for verb in verbs:
        room = import_module(f"mmrerank.cli.{COMMANDS[verb]}")
        one.command(verb)(vars(room)[COMMANDS[verb]])
    return one


def __getattr__(name: str) -> Any:
    if name == "app":  # all verbs, for whoever documents or wraps them
        return app_of(COMMANDS)
    raise AttributeError(f"module 'mmrerank.cli' has no attribute {name!r}")


def _end_quickly() -> None:
    """Spares the end of the process a look through all modules for circles, which takes as long as a search. Behind torch there are
    libraries that complain of what is not taken apart."""
    if "torch" not in sys.modules:
        gc.freeze()


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # or pydantic reads the metadata of every installed package
    atexit.register(_end_quickly)
    _output.open_to_any_text()
    handler = logging.StreamHandler(sys.stderr)
    handler.setLevel(logging.WARNING)  # on the handler too: some libraries turn their own loggers to DEBUG
    handler.setFormatter(_output.LogFormatter("%(levelname)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    with _output.stoppable() as signals:
        code = _code_of(words)
    return 128 + signals[-1] if signals and code == _STOPPED else code


def _code_of(words: list[str]) -> int:
    as_json = "--json" in words
    try:
        verbs = [words[0]] if words and words[0] in COMMANDS else COMMANDS
        result = app_of(verbs)(args=words, prog_name="mmrerank", standalone_mode=False)
        if result == _STOPPED:  # what typer makes of a KeyboardInterrupt
            raise KeyboardInterrupt
        return result if isinstance(result, int) else 0
    except _output.Stopped as error:
        _output.fail(error, as_json=as_json)
        return _STOPPED
    except MMRerankError as error:
        return _output.fail(error, as_json=as_json)
    except _output.UsageError as error:
        return _output.fail_usage(error, as_json=as_json)
    except BrokenPipeError:  # whoever read the results wants no more of them, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains once more as it ends
        return _output.INPUT
    except OSError as error:
        logger.debug("an error of the system", exc_info=True)
        return _output.fail(_of_system(error), as_json=as_json)
    except (typer.Abort, KeyboardInterrupt):
        _output.fail(_output.Stopped("stopped before it was done"), as_json=as_json)
        return _STOPPED


def _of_system(error: OSError) -> InputError:
    """A file or folder that the system refuses."""
    known = error.strerror and error.filename is not None
    return InputError(f"{error.filename}: {error.strerror}" if known else str(error))
