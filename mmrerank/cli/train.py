"""`mmrerank train RECIPE --out DIR`"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmrerank.cli import _backend, _output

if TYPE_CHECKING:
    from mmrerank.training.run import Advance, Watcher


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe (TOML), or the name of one that ships, such as query_likelihood.")],
    out: Annotated[Path, typer.Option(help="Folder of the results; a training that was stopped goes on in it.")],
    data: Annotated[Path | None, typer.Option(help="Folder below which the recipe's files lie; the recipe's own when left out.")] = None,
    backend: Annotated[str | None, typer.Option(help="Model to train: local/PATH, or mini; the recipe's when left out.")] = None,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> int:
    """Train a reranker by a recipe, and measure it on held-out queries before and after; called again after a kill, it goes on."""
    from mmrerank.training.recipe import read_recipe
    from mmrerank.training.run import Training

    with _watching() as watch:
        training = Training.of(
            read_recipe(recipe), out, data=data, backend=backend, cache=_backend.cache_folder().parent / "training", watch=watch
        )
        card = training.run()
    if json:
        _output.emit(card)
    else:
        _show(card, training.out)
    return 0


@contextmanager
def _watching() -> Iterator[Watcher]:
    """A bar for each thing that is gone through, one after the other."""
    with ExitStack() as stack:

        def watch(what: str) -> Advance:
            stack.close()
            advance: Advance = stack.enter_context(_output.progress_bar(what))
            return advance

        yield watch


def _show(card: dict[str, Any], out: Path) -> None:
    from mmrerank.training.measured import table

    console = _output.out()
    stages = " then ".join(f"{stage['what']}, {stage['steps']} steps" for stage in card["stages"])
    console.print(f"{card['recipe']}: {card['trained_weights']:,} weights, {card['queries']} queries, {stages}", markup=False)
    for result in card["heldout"]:
        console.print(f"\n{result['name']}: {result['queries']} queries, 95 % intervals over them", markup=False)
        for measure in result["measured_by"]:
            console.print(table(result, measure), markup=False)
    console.print(f"\nuse it: {card['use']}", markup=False)
    console.print(str(out / "CARD.md"), markup=False, style="dim")
