"""`mmrerank demo [--out DIR]`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmrerank.cli import _output


def demo(
    out: Annotated[Path, typer.Option(help="Folder for the collections and the pictures.")] = Path("demo-out"),
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> int:
    """Index what ships, answer text, picture, composed and document queries, write pictures to look at, measure."""
    from mmrerank.demo import run

    console = _output.out()
    say = (lambda line: None) if json else (lambda line: console.print(line, markup=False))
    result = run(out, say, _output.progress_bar)
    if json:
        _output.emit(result)
    return 0
