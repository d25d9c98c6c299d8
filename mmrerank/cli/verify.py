"""`mmrerank verify COLLECTION`"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from mmrerank.cli import _output


def verify(
    collection: Annotated[Path, typer.Argument(help="Folder of the collection.")],
    content: Annotated[bool, typer.Option("--content", help="Read every file again too: does it hold what it held?")] = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> int:
    """Check that a collection holds together, and measure what its indexes find; those that do not match are rebuilt. Exit code 4 when data
    is damaged."""
    from mmrerank.collection import Collection
    from mmrerank.collection.verify import check
    from mmrerank.index import in_words

    report = check(Collection.open(collection), content=content)
    if json:
        _output.emit(report)
    else:
        console = _output.out()
        console.print(f"{report['items']} items checked: " + ("[green]all well[/]" if report["ok"] else "[bold red]damaged[/]"))
        recall = [f"the index of {one['encoder']} finds {in_words(one['recall@10'])}{_below(one)}" for one in report["recall"]]
        for line in [*report["problems"], *report["rebuilt"], *recall, *report["files"]]:
            console.print(f"  {_output.one_line(line)}", markup=False)
    return 0 if report["ok"] else _output.DAMAGED


def _below(recall: dict[str, Any]) -> str:
    """What there is to add where an index finds less than it is for."""
    return f", less than the {recall['promise']} it is for" if min(recall["recall@10"].values()) < recall["promise"] else ""
