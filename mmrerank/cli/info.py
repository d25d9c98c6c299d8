"""`mmrerank info COLLECTION`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mmrerank.cli import _output

MOST_PAGES = 20  # pages without words


def info(
    collection: Annotated[Path, typer.Argument(help="Folder of the collection.")],
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> int:
    """Say what a collection holds, where it came from and which files could not be read."""
    from mmrerank.collection import Collection
    from mmrerank.collection.verify import describe

    contents = describe(Collection.open(collection))
    if json:
        _output.emit(contents)
    else:
        _show(contents)
    return 0


def _show(contents: dict[str, Any]) -> None:
    from rich.markup import escape

    console = _output.out()
    console.print(
        f"[bold]{escape(contents['collection'])}[/]: {contents['items']} items, {contents['with_text']} with text, "
        f"{contents['bytes'] / 1e6:.1f} MB"
    )
    for encoder in contents["encoders"]:
        console.print(f"  encoder {encoder['name']}: {encoder['dimension']} dims, {encoder['items']} items", markup=False)
    console.print(f"  index {contents['index']}", markup=False)
    for index in contents["indexes"]:
        console.print(f"    of {index['encoder']}: {_index_in_words(index)}", markup=False)
    for root in contents["roots"]:
        console.print(_output.one_line(f"  from {root['path']}" + (f" as {root['prefix']}" if root["prefix"] else "")), markup=False)
    console.print(f"  fields {', '.join(contents['fields'])}", markup=False)
    notes = contents["text_notes"]
    for page in notes["first"][:MOST_PAGES]:
        console.print(f"  text of {_output.one_line(page['item_id'])}: {page['reason']}", markup=False)
    if notes["count"] > MOST_PAGES:
        console.print(f"  ... and of {notes['count'] - MOST_PAGES} more: --json lists them", markup=False)
    for failure in contents["failed"]:
        console.print(f"  failed: {_output.one_line(failure['path'])}: {failure['reason']}", markup=False)


def _index_in_words(index: dict[str, Any]) -> str:
    from mmrerank.index import in_words

    if index["kind"] is None:
        return "none yet; the next `mmrerank index` builds it"
    width = f", {index['width']} wide" if index["width"] else ""
    measured = f", {in_words(index['recall@10'])}" if index["recall@10"] else ""
    return f"{index['kind']}{width}, {index['bytes'] / 1e6:.1f} MB{measured}"
