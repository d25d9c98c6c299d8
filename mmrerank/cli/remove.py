"""`mmrerank remove COLLECTION [--id ID]... [--path P]... [--filter SQL]`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from mmrerank.cli import _output


def remove(
    collection: Annotated[Path, typer.Argument(help="Folder of the collection.")],
    id: Annotated[list[str] | None, typer.Option(help="Item id, or document id for all of its pages; may be given several times.")] = None,
    path: Annotated[list[Path] | None, typer.Option(help="File or folder whose items go.")] = None,
    filter: Annotated[str | None, typer.Option(help="SQL over the fields of the items.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> int:
    """Remove items from a collection; the files themselves stay."""
    from mmrerank.collection import Collection

    opened = Collection.open(collection)
    removed = opened.remove(ids=id or (), paths=path or (), filter=filter)
    result = {"collection": str(collection), "removed": removed, "items": len(opened)}
    if json:
        _output.emit(result)
    else:
        _output.out().print(f"{removed} items removed, {len(opened)} remain")
    return 0
