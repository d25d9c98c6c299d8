"""What a command is about to download, said before it starts; a person at a terminal is asked."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator

import typer

from mmrerank.cli import _output
from mmrerank.types import Download

WITHOUT = "Without it: --encoder none (texts only), --encoder openclip/local-dir:PATH, or --encoder openclip/mini (a demonstration model)."


def announce(names: Iterable[str], *, yes: bool) -> None:
    """Says what making these encoders downloads: what, from where, how much, and what to do without. Asks at a terminal.

    Args:
        yes: nobody is asked; nor where nobody sits at a terminal.

    Raises:
        typer.Exit: the answer is no; the exit code is 1.
    """
    downloads = list(downloads_of(names))
    for download in downloads:
        size = "of unknown size" if download.mib is None else f"about {download.mib:.0f} MiB"
        _output.say(f"{download.name} is not on this machine yet: {size} from {download.source}, kept in {download.folder}.")
    if not downloads:
        return
    _output.say(WITHOUT)
    if not yes and at_a_terminal() and not typer.confirm("Download now?", default=True, err=True):
        raise typer.Exit(_output.INPUT)


def at_a_terminal() -> bool:
    """Whether somebody can read a question and answer it."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def downloads_of(names: Iterable[str]) -> Iterator[Download]:
    """What is not on this machine of the encoders of these names; a name that cannot be made is complained of when it is."""
    from mmrerank.errors import MMRerankError
    from mmrerank.parts import module, options_of
    from mmrerank.types import DownloadingFactory

    for name in dict.fromkeys(names):
        try:
            factory = module(name, station="encoders")
            download = factory.download(options_of(name, factory.Options)) if isinstance(factory, DownloadingFactory) else None
        except MMRerankError:
            continue
        if download is not None:
            yield download
