"""`mmrerank evaluate CARD.toml [--rerank NAME]... [--out DIR]`"""

from __future__ import annotations

from dataclasses import replace
from enum import Enum
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmrerank.cli import _backend, _output
from mmrerank.errors import InputError

if TYPE_CHECKING:
    from mmrerank.collection import Collection
    from mmrerank.evaluation.benchmark import Benchmark
    from mmrerank.evaluation.evaluate import Evaluated


FIGURES = ("calls", "prompt_tokens", "generated_tokens")


class RunOrder(str, Enum):
    rank = "rank"
    score = "score"


class Sides(str, Enum):
    first = "first"
    all = "all"
    none = "none"


class Half(str, Enum):
    a = "a"
    b = "b"


class BelowZero(str, Enum):
    wrong = "wrong"
    removed = "removed"


def evaluate(
    card: Annotated[Path, typer.Argument(help="Card of the benchmark, such as datasets/emoji/card.toml.")],
    data: Annotated[Path | None, typer.Option(help="Folder of its files, where they do not ship with the card.")] = None,
    collection: Annotated[Path | None, typer.Option(help="Search this collection; made from the benchmark when left out.")] = None,
    encoder: Annotated[str | None, typer.Option(help="Picture encoder of the collection that is made; the card's when left out.")] = None,
    text_encoder: Annotated[str | None, typer.Option(help="Text encoder beside it; the card's when left out.")] = None,
    retriever: Annotated[str | None, typer.Option(help="First stage; the benchmark's when left out.")] = None,
    rerank: Annotated[list[str] | None, typer.Option(help=_backend.RERANK)] = None,
    beside: Annotated[
        list[str] | None, typer.Option(help="Reranker to measure by itself beside the others, on the same first stage; may be repeated.")
    ] = None,
    backend: _backend.BackendName = None,
    depth: Annotated[int, typer.Option(help="How many candidates the rerankers see.", min=1)] = 100,
    run: Annotated[Path | None, typer.Option(help="TREC run of another system in place of the first stage.")] = None,
    compare: Annotated[list[Path] | None, typer.Option(help="TREC run of another system to measure beside; may be repeated.")] = None,
    run_order: Annotated[RunOrder, typer.Option(help="Order of runs: by rank, or by score as trec_eval has it.")] = RunOrder.rank,
    below_zero: Annotated[
        BelowZero | None, typer.Option(help="Items of grades below 0: wrong, as for trec_eval, or removed; the card's way when left out.")
    ] = None,
    variant: Annotated[str | None, typer.Option(help="shuffled, paraphrased, hard_negatives, two_pictures or exclusions.")] = None,
    limit: Annotated[int | None, typer.Option(help="At most so many queries, evenly spread.", min=1)] = None,
    only: Annotated[Path | None, typer.Option(help="List of the queries to measure: ids, or a list of CIRCUS.")] = None,
    sides: Annotated[Sides, typer.Option(help="What text alone and pictures alone go through for the composition gap.")] = Sides.first,
    text_run: Annotated[Path | None, typer.Option(help="TREC run of text alone, for the gap of runs; with --picture-run.")] = None,
    picture_run: Annotated[Path | None, typer.Option(help="TREC run of pictures alone.")] = None,
    half: Annotated[Half | None, typer.Option(help="One half of the queries: to fit a guard on a, and report b.")] = None,
    fit_guard: Annotated[
        Path | None, typer.Option(help="File for what the last reranker gained here, for guard(fitted=FILE). Never of what is reported.")
    ] = None,
    estimate: Annotated[bool, typer.Option(help="What each reranker will take, and no run.")] = False,
    split: Annotated[str | None, typer.Option(help="Part of the benchmark; the card's when left out.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for report, figures and run files.")] = None,
    no_cache: _backend.NoCache = False,
    json: Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")] = False,
) -> int:
    """Measure a first stage and rerankers on a benchmark, with intervals; interrupted, it goes on from the answers it has."""
    from mmrerank.evaluation.benchmark import open_benchmark
    from mmrerank.evaluation.evaluate import evaluate as evaluated_on
    from mmrerank.evaluation.query_lists import only_listed

    if collection is not None and (encoder or text_encoder):
        raise InputError(f"{collection} has its encoders already", hint="Leave --encoder and --text-encoder out, or --collection.")
    _check_files(fit_guard, out, reranks=bool(rerank))
    whole, listed = (open_benchmark(card, data, split), []) if only is None else only_listed(open_benchmark(card, data, split), only)
    benchmark = _encoded(_part(whole, limit, half, below_zero), encoder, text_encoder)
    model, stages = _backend.stages([*(rerank or ()), *(beside or ())], backend, no_cache=no_cache)
    runs = _runs(run_order, run, compare or [], {"text": text_run, "pictures": picture_run})
    first: dict[str, Any] = {"retriever": retriever, "run": runs["run"], "variant": variant}
    opened = _collection(benchmark, collection, model, {**first, "rerank": stages})
    if estimate:
        return _estimate(benchmark, opened, stages, retriever=retriever, backend=model, depth=depth, json=json)
    count = len(rerank or ())
    systems: dict[str, Any] = {"rerank": stages[:count], "beside": stages[count:], "sides": sides.value}
    with _output.progress_bar(f"measuring {benchmark.name}") as advance:
        evaluated = evaluated_on(benchmark, opened, backend=model, depth=depth, progress=advance, **{**first, **runs, **systems})
    evaluated.result["notes"][:0] = listed
    _tell(evaluated, opened, out, fit_guard, json=json)
    return 0


def _check_files(fit_guard: Path | None, out: Path | None, *, reranks: bool) -> None:
    """That what is to be written can be, before anything is measured."""
    from mmrerank.evaluation.out_folder import check_folder

    if fit_guard is not None and not reranks:
        raise InputError("a guard is fitted on what a reranker gained, and nothing was reranked", hint="Name one: --rerank NAME.")
    if out is not None:
        check_folder(out)


def _runs(order: RunOrder, run: Path | None, compare: list[Path], one_sided: dict[str, Path | None]) -> dict[str, Any]:
    """The runs of other systems by what they stand for, as `evaluate` of the library takes them."""
    from mmrerank.evaluation.runs import read_run

    read = partial(read_run, order=order.value)
    return {
        "run": None if run is None else read(run),
        "compare": [read(path) for path in compare],
        "side_runs": {side: read(path) for side, path in one_sided.items() if path is not None},
    }


def _tell(evaluated: Evaluated, collection: Collection | None, out: Path | None, fit_guard: Path | None, *, json: bool) -> None:
    """Writes what was wished for, and shows the figures."""
    from mmrerank.evaluation.evaluate import write
    from mmrerank.evaluation.guarding import fitted_guard

    for note in evaluated.result["notes"]:
        _output.say(f"note: {note}")
    written = write(evaluated, out, collection) if out is not None else []
    if fit_guard is not None:
        fitted_guard(evaluated).save(fit_guard)
        written.append(fit_guard)
    if json:
        _output.emit(evaluated.result)
    else:
        _show(evaluated.result, written)


def _part(benchmark: Benchmark, limit: int | None, half: Half | None, below_zero: BelowZero | None) -> Benchmark:
    """As much of the benchmark as is asked for."""
    from mmrerank.evaluation.guarding import halved
    from mmrerank.evaluation.running import limited

    part = limited(benchmark, limit)
    part = part if half is None else halved(part, half.value)
    return part if below_zero is None else replace(part, junk=below_zero is BelowZero.removed)


def _encoded(benchmark: Benchmark, encoder: str | None, text_encoder: str | None) -> Benchmark:
    return replace(benchmark, encoder=encoder or benchmark.encoder, text_encoder=text_encoder or benchmark.text_encoder)


def _collection(benchmark: Benchmark, folder: Path | None, model: Any, options: dict[str, Any]) -> Collection | None:
    """The collection that is searched, indexed as far as it is not; None where a run is measured as it is."""
    from mmrerank.evaluation.evaluate import collection_for, needs_collection, searches
    from mmrerank.evaluation.variants import suitable

    if options["variant"] is not None:
        suitable(options["variant"], benchmark, options["rerank"])  # before anything is indexed
    if not needs_collection(benchmark, **options):
        return None
    first = options["retriever"] or benchmark.retriever
    searched_by = first if searches(benchmark, retriever=options["retriever"], run=options["run"]) else None
    where = {"existing": folder, "searched_by": searched_by, "backend": model}
    with _output.progress_bar(f"indexing {benchmark.name}") as advance:
        opened, indexed = collection_for(benchmark, _backend.cache_folder().parent / "collections", progress=advance, **where)
    if indexed is not None and indexed.failed:
        _output.say(f"{len(indexed.failed)} of {indexed.expected} items could not be read and cannot be found")
    return opened


def _estimate(
    benchmark: Benchmark, collection: Collection | None, stages: list[Any], *, retriever: str | None, backend: Any, depth: int, json: bool
) -> int:
    """Tells what the rerankers will take, each on the order of the first stage."""
    from mmrerank.evaluation.expectation import expectations

    if collection is None or not stages:
        raise InputError("an estimate is of rerankers", hint="Name some: --rerank NAME, or --beside NAME for each of several.")
    expected = expectations(benchmark, collection, stages, retriever=retriever, backend=backend, depth=depth)
    rows = [one.as_json(len(benchmark.queries)) for one in expected]
    if json:
        _output.emit({"card": benchmark.name, "queries": len(benchmark.queries), "depth": depth, "expected": rows})
        return 0
    head = ["reranker", "calls", "prompt tokens", "generated", "s a query", f"s for {len(benchmark.queries)}"]
    figures = [[*(f"{row[key]:.1f}" for key in FIGURES), f"{row['seconds']:.2f}", f"{row['all_queries']['seconds']:.0f}"] for row in rows]
    _output.out().print(_table(head, [[row["name"], *line] for row, line in zip(rows, figures, strict=True)]))
    return 0


def _table(head: list[str], rows: list[list[str]]) -> Any:
    from rich.markup import escape
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for n, name in enumerate(head):
        table.add_column(name, justify="right" if n else "left", overflow="fold" if n == 0 else "ellipsis")
    for row in rows:
        table.add_row(*map(escape, row))
    return table


def _ladder(result: dict[str, Any]) -> Any:
    """Quality beside cost of all that was run, the cheapest first."""
    from mmrerank.evaluation.summary import costs

    (main, *_) = result["measures"]
    ran = [system for system in result["systems"] if system["cost"]["seconds"] is not None]
    rows = []
    for system in sorted(ran, key=lambda system: system["cost"]["seconds"]):
        gain, cost = system["gains"].get(main), costs(system)
        added = "" if gain is None else f"{gain['value']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})"
        rows.append([" > ".join(system["stages"][1:]) or system["name"], _number(system["measures"][main]["value"]), added])
        rows[-1] += [cost["calls"], cost["tokens"], cost["ms"]]
    return _table(["quality beside cost", main, "gain", "calls", "tokens", "ms"], rows)


def _show(result: dict[str, Any], written: list[Path]) -> None:
    from mmrerank.evaluation.summary import unheard

    console = _output.out()
    console.print(f"{result['card']}: {result['queries']} queries, depth {result['depth']}, 95 % intervals over queries", markup=False)
    for place, system in enumerate(result["systems"]):
        console.print(f"[bold]{_escaped(system['name'])}[/], depth {system['depth']}")
        for name, interval in system["measures"].items():
            console.print(f"  {name:<20}{_span(interval)}{_added(system['gains'].get(name))}", markup=False)
        _show_groups(system["groups"])
        if gap := _gap(result.get("composition"), place):
            console.print(f"  {gap}", markup=False)
        if fallbacks := unheard(system):
            console.print(f"  {fallbacks}", style="yellow" if "fallback" in system["notes"] else "dim")
        console.print(f"  {_took(system)}", style="dim")
    if len(result["systems"]) > 2 and result["measures"]:
        console.print(_ladder(result))
    ceiling = "  ".join(f"{name} {_number(value)}" for name, value in result["ceiling"].items())
    console.print(f"best order at depth {result['depth']}: {ceiling}" if ceiling else "no judgements here: a server has them", markup=False)
    if "variant" in result:
        alike = {key: result["variant"][key] for key in ("same_first", "overlap_10", "kendall_tau")}
        console.print(f"{result['variant']['name']}: {'  '.join(f'{key} {_number(value)}' for key, value in alike.items())}", markup=False)
        _show_variant(result["variant"])
    for path in written:
        console.print(str(path), markup=False, style="dim")


def _show_variant(variant: dict[str, Any]) -> None:
    """What the change took from the last stage."""
    for name, gain in variant.get("change", {}).items():
        apart = f"   wordings apart by {_number(variant['spread'][name])}" if "spread" in variant else ""
        _output.out().print(f"  {name:<20}{_added(gain)}{apart}", markup=False)
    if "negatives_10" in variant:
        shares = variant["negatives_10"]
        words = f"first stage {_number(shares['first_stage'])}, last stage {_number(shares['last_stage'])}"
        _output.out().print(f"  negatives in the first 10: {words}", markup=False)


def _gap(composition: dict[str, Any] | None, place: int) -> str:
    """The composition gap of the system at this place; "" where the queries are not composed."""
    if composition is None:
        return ""
    gap, measure = composition["systems"][place], composition["measure"]
    span = f"{gap['value']:+.3f} ({gap['low']:+.3f} to {gap['high']:+.3f})"
    alone = f"text alone {_number(gap['text'])}, pictures alone {_number(gap['pictures'])}"
    return f"composition gap {span}: {measure} {_number(gap['both'])}, {alone}"


def _took(system: dict[str, Any]) -> str:
    from mmrerank.evaluation.summary import costs

    cost = costs(system)
    if cost["ms"] == "-":
        return "what it took is not known"
    known = f", {cost['cached']} answers from the cache" if cost["cached"] else ""
    return f"{cost['ms']} ms, {cost['calls']} calls, {cost['tokens']} tokens{known} a query"


def _show_groups(groups: dict[str, Any]) -> None:
    from mmrerank.evaluation.summary import within_groups

    for group, row in groups.items():
        figures = "  ".join(f"{name} {_number(row[name])}" for name in within_groups(row))
        _output.out().print(f"    {group}: {figures}", markup=False)


def _span(interval: dict[str, Any]) -> str:
    return f"{_number(interval['value'])}  ({_number(interval['low'])} to {_number(interval['high'])})"


def _added(gain: dict[str, Any] | None) -> str:
    if gain is None or gain["value"] is None:
        return ""
    span = f"{gain['value']:+.3f} ({gain['low']:+.3f} to {gain['high']:+.3f})"
    return f"   {span}  p {gain['p_holm']:.4f}  {gain['wins']} won, {gain['ties']} equal, {gain['losses']} lost"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _escaped(text: str) -> str:
    return text.replace("[", "\\[")
