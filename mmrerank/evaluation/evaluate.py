"""`evaluate`: a benchmark, a collection and parts -> figures, run files and a report. What the command line calls."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from mmrerank.backends import NotingBackend
from mmrerank.collection import Collection
from mmrerank.errors import InputError
from mmrerank.evaluation._watched import check_answered
from mmrerank.evaluation.benchmark import Benchmark
from mmrerank.evaluation.composition import SIDES, Side, composed, composition, one_sided
from mmrerank.evaluation.out_folder import RESULT, replace_files
from mmrerank.evaluation.readiness import below_zero, check_encoders, nothing_to_index, unasked, unfindable
from mmrerank.evaluation.running import DEPTH, Outcome, Progress, System, first_stage, outcome_of, part_of, run_benchmark, system_of
from mmrerank.evaluation.runs import Run, labelled, run_texts
from mmrerank.evaluation.stability import gain_of, negatives_retrieved, spread, stability, unmoved
from mmrerank.evaluation.submissions import submission_texts
from mmrerank.evaluation.summary import summary
from mmrerank.evaluation.variants import Paraphrased, Setting, Variant, WithNegatives, alterations, heeded, suitable
from mmrerank.ingest.run import IngestReport
from mmrerank.parts import StagedReranker, as_tuple
from mmrerank.pipeline import AnyReranker, NamedReranker, rerankers_of
from mmrerank.prompting.files import PromptedPart
from mmrerank.protocols import Backend, Reranker, innermost
from mmrerank.provenance import made_by

SidesOf: TypeAlias = Literal["first", "all", "none"]


@dataclass(frozen=True, kw_only=True)
class Evaluated:
    """What came out: the figures as JSON, and the rankings behind them."""

    result: dict[str, Any]
    outcome: Outcome
    rerank: tuple[Reranker, ...] = ()  # the parts that reranked, the last one last


def collection_for(
    benchmark: Benchmark,
    folder: Path,
    *,
    existing: Path | None = None,
    searched_by: str | None = None,
    backend: Backend | None = None,
    progress: Progress | None = None,
) -> tuple[Collection | None, IngestReport | None]:
    """The collection that a benchmark is searched in: the existing one, else one below `folder` with its sources indexed.

    None where the benchmark has no sources and none exists; then only runs of other systems can be measured.

    Args:
        searched_by: the first stage that is to work on it, looked at before anything is indexed; None where a run takes its place.

    Raises:
        InputError: the first stage wants an encoder, and neither card nor caller names one that will do.
    """
    if existing is not None:
        return Collection.open(existing), None
    if not benchmark.sources:
        return None, None
    encoders = [name for name in (benchmark.encoder, benchmark.text_encoder) if name and name != "none"]
    name = benchmark.name.partition("/")[0]  # splits over the same files share a collection
    key = json.dumps([name, encoders, benchmark.read_with, [str(source.resolve()) for source in benchmark.sources]])
    place = folder / f"{name}-{hashlib.blake2b(key.encode(), digest_size=4).hexdigest()}"
    opened = Collection.open_or_create(place, encoders=encoders)
    if searched_by is not None:
        check_encoders(benchmark, opened, searched_by, backend)
    return opened, opened.add(benchmark.sources, read_with=benchmark.read_with, progress=progress)


def searches(benchmark: Benchmark, *, retriever: str | None, run: Run | None) -> bool:
    """Whether a first stage of ours searches; where not, a run is in its place: the given one, or that of the benchmark's files."""
    return run is None and (retriever is not None or benchmark.shipped_run is None)


def needs_collection(
    benchmark: Benchmark, *, retriever: str | None, rerank: Sequence[AnyReranker], run: Run | None, variant: str | None
) -> bool:
    """Whether something is searched or reranked; where not, a run is measured as it is."""
    return bool(rerank) or variant is not None or searches(benchmark, retriever=retriever, run=run)


def evaluate(
    benchmark: Benchmark,
    collection: Collection | None,
    *,
    retriever: str | None = None,
    rerank: Sequence[AnyReranker] = (),
    beside: Sequence[AnyReranker] = (),
    backend: Backend | None = None,
    depth: int = DEPTH,
    run: Run | None = None,
    compare: Sequence[Run] = (),
    variant: str | None = None,
    sides: SidesOf = "first",
    side_runs: Mapping[Side, Run] = MappingProxyType({}),
    progress: Progress | None = None,
) -> Evaluated:
    """The figures of first stage and rerankers on a benchmark.

    Args:
        run: rankings of another system in place of the first stage; None, with no retriever named, takes those that come
            with the benchmark, where any do.
        beside: rerankers that are measured each by itself, on the order of the same first stage: quality beside cost in one table.
        compare: runs that are measured beside, against the same first stage.
        variant: name of a change to queries or candidates (`mmrerank.evaluation.variants`); the figures are those of the
            changed benchmark, with `stability` against the unchanged one beside.
        sides: what text alone and pictures alone of composed queries go through for the composition gap: the first stage, all stages, or
            nothing.
        side_runs: runs of another system for text alone and pictures alone; where both are there, they are taken instead.

    Raises:
        InputError: reranking or searching is asked for and there is no collection, or one without any right item; a run holds no
            query or no item of the benchmark; the variant does not suit it.
        BackendError: the model cannot be reached. Single answers that did not come are fallbacks, counted in the system's `notes`.
    """
    change = None if variant is None else suitable(variant, benchmark, rerank)
    if beside and change is not None:
        raise InputError("rerankers beside each other are measured without a variant", hint="Measure one at a time with it.")
    alone = not needs_collection(benchmark, retriever=retriever, rerank=(*rerank, *beside), run=run, variant=variant)
    run, compared = _in_item_ids(benchmark, benchmark.shipped_run if run is None and retriever is None else run, compare)
    runs = compared if run is None else [run, *compared]
    others = tuple(system_of(benchmark, other) for other in compared)
    notes = [*unasked(benchmark, runs), *_notes_of(runs), *below_zero(benchmark)]
    ran = {**({} if run is None else {"run": dict(run.made_by)}), "runs": [_read(one) for one in runs if one.order is not None]}
    own_sides: dict[Side, tuple[System, ...]] = {
        side: (system_of(benchmark, benchmark.in_item_ids(one)),) for side, one in side_runs.items()
    }
    if run is not None and alone:
        return _with_gap(_evaluated(replace(outcome_of(benchmark, run, depth), others=others), ran, notes), own_sides)
    if collection is None:
        raise nothing_to_index(benchmark)
    notes += unfindable(benchmark, collection)
    watched = None if backend is None else NotingBackend(backend)
    own, each = ([_watched(one) for one in as_tuple(some)] for some in (rerank, beside))
    progress = _with_checks(progress, watched, [*own, *each])
    first = first_stage(benchmark, collection, name=retriever, run=run, backend=watched)
    setting = Setting(benchmark=benchmark, first=first, rerank=tuple(rerankers_of(own, first, watched)))
    alternatives = rerankers_of(each, first, watched)
    origin = ran | _origin(collection, [first, *setting.rerank, *alternatives], backend)
    others += tuple(_run(replace(setting, rerank=(one,)), collection, depth, progress).systems[-1] for one in alternatives)
    evaluated = _searched(setting, collection, change, depth, others, origin, notes, progress)
    evaluated = replace(evaluated, rerank=setting.rerank)
    if change is not None or sides == "none":
        return evaluated
    if composed(benchmark) and len(own_sides) < len(SIDES):
        parts = setting if sides == "all" else replace(setting, rerank=())
        own_sides = _searched_sides(evaluated, parts, collection, depth, progress) or own_sides
    return _with_gap(evaluated, own_sides)


def _searched_sides(
    evaluated: Evaluated, setting: Setting, collection: Collection, depth: int, progress: Progress | None
) -> dict[Side, tuple[System, ...]]:
    """What each side alone finds; none, and a note, where a side cannot be searched."""
    try:
        return _sides_of(setting, collection, depth, progress)
    except InputError as error:
        evaluated.result["notes"].append(f"no composition gap: one side alone cannot be searched: {error.message}")
        return {}


def _sides_of(setting: Setting, collection: Collection, depth: int, progress: Progress | None) -> dict[Side, tuple[System, ...]]:
    """The systems over text alone and over pictures alone of composed queries.

    Raises:
        InputError: one of the two cannot be searched.
    """
    halves = {side: replace(setting, benchmark=one_sided(setting.benchmark, side)) for side in SIDES}
    return {side: _run(half, collection, depth, progress).systems for side, half in halves.items()}


def _with_gap(evaluated: Evaluated, sides: Mapping[Side, Sequence[System]]) -> Evaluated:
    """The figures with the composition gap, where the queries are composed and both sides are known."""
    benchmark = evaluated.outcome.benchmark
    if not benchmark.judged or not composed(benchmark):
        return evaluated
    if len(sides) == len(SIDES):
        evaluated.result["composition"] = composition(evaluated.outcome, sides)
    elif evaluated.outcome.systems[0].stages[0].startswith("run/"):
        evaluated.result["notes"].append("no composition gap: it takes runs of text alone and of pictures alone beside")
    return evaluated


def _in_item_ids(benchmark: Benchmark, run: Run | None, compare: Sequence[Run]) -> tuple[Run | None, list[Run]]:
    """The run in place of the first stage, and those beside it, each with a label of its own and the ids of the items."""
    runs = [benchmark.in_item_ids(one) for one in labelled([*([] if run is None else [run]), *compare])]
    return (None, runs) if run is None else (runs[0], runs[1:])


def _notes_of(runs: Sequence[Run]) -> list[str]:
    return [f"the run {run.label!r}: {note}" for run in runs for note in run.notes]


def _read(run: Run) -> dict[str, Any]:
    """Where a run came from and by what its order was read."""
    return {"name": f"run/{run.label}", "file": str(run.file), "order": run.order}


def _searched(
    setting: Setting,
    collection: Collection,
    change: Variant | None,
    depth: int,
    others: tuple[System, ...],
    origin: Mapping[str, Any],
    notes: Sequence[str],
    progress: Progress | None,
) -> Evaluated:
    """The figures of what is searched and reranked, and with a change beside those without it."""
    if change is not None:
        heeded(change, setting, collection.version)
    plain = replace(_run(setting, collection, depth, progress), others=others)
    if change is None:
        return _evaluated(plain, origin, notes)
    settings = alterations(change, setting, collection.version, plain)
    outcomes = [replace(_run(one, collection, depth, progress), others=others) for one in settings]
    changed = outcomes[0]
    evaluated = _evaluated(changed, {**origin, "variant": change.name}, [*notes, *unmoved(change, plain, changed)])
    unchanged = summary(replace(plain, others=()))["systems"]
    evaluated.result["variant"] = {"name": change.name, **stability(plain, changed), "unchanged": unchanged}
    if plain.benchmark.judged:
        evaluated.result["variant"] |= _costs_of(change, plain, outcomes, settings[0])
    return evaluated


def _costs_of(change: Variant, plain: Outcome, outcomes: Sequence[Outcome], setting: Setting) -> dict[str, Any]:
    """What the change takes from the last stage: by each measure, and what is asked of its kind."""
    figures: dict[str, Any] = {"change": gain_of(plain, outcomes[0])}
    if isinstance(change.options, Paraphrased):
        figures |= {"wordings": 1 + len(outcomes), "spread": spread([plain, *outcomes])}
    if isinstance(setting.first, WithNegatives):
        figures["negatives_10"] = negatives_retrieved(outcomes[0], setting.first.placed)
    return figures


def _run(setting: Setting, collection: Collection, depth: int, progress: Progress | None) -> Outcome:
    return run_benchmark(setting.benchmark, collection, setting.first, rerank=setting.rerank, depth=depth, progress=progress)


def _watched(reranker: AnyReranker) -> AnyReranker:
    """The reranker with watch kept over the model that its name says, where it says one."""
    if isinstance(reranker, str):
        reranker = NamedReranker.of(reranker)
    if not isinstance(reranker, NamedReranker) or reranker.backend is None:
        return reranker
    return replace(reranker, backend=NotingBackend(reranker.backend))


def _with_checks(progress: Progress | None, backend: NotingBackend | None, rerankers: Sequence[AnyReranker]) -> Progress | None:
    """Tells how far the run is, and gives up on a model, of all rerankers or of one, that never answered."""
    own = [one.backend for one in rerankers if isinstance(one, NamedReranker) and isinstance(one.backend, NotingBackend)]
    for model in filter(None, [backend, *own]):
        progress = _both(partial(check_answered, model), progress)
    return progress


def _both(check: Progress, progress: Progress | None) -> Progress:
    """Tells both how far the run is."""

    def advance(done: int, expected: int) -> None:
        check(done, expected)
        if progress is not None:
            progress(done, expected)

    return advance


def _origin(collection: Collection, stages: Sequence[Any], backend: Backend | None) -> dict[str, Any]:
    """What the numbers hang on beside the stages' names: collection, weights of the encoders, texts of the prompts, the model."""
    parts = {stage.name: innermost(stage) for stage in stages}
    prompts = {name: part.prompt.digest for name, part in parts.items() if isinstance(part, PromptedPart)}
    named = {stage.name: stage.stage for stage in stages if isinstance(stage, StagedReranker)}
    own = {name: {"depth": stage.depth, "backend": stage.backend} for name, stage in named.items()}
    return {
        **({"named": own} if own else {}),  # what the names of stages say of depth and model
        "collection": dict(collection.manifest.made_by),
        "encoders": {entry.name: entry.weights for entry in collection.manifest.encoders},
        "prompts": prompts,
        "backend": None if backend is None else backend.name,
    }


def _evaluated(outcome: Outcome, origin: Mapping[str, Any], notes: Sequence[str]) -> Evaluated:
    figures = summary(outcome)
    stages = outcome.systems[-1].stages
    result = {
        "card": outcome.benchmark.name,
        "queries": len(outcome.benchmark.queries),
        "measures": figures["systems"][len(stages) - 1]["measures"],
        "first_stage": stages[0],
        "made_by": made_by(first_stage=stages[0], stages=list(stages), depth=outcome.depth, candidates=outcome.candidates, **origin),
        "run_file": None,
        "notes": list(notes),
        **figures,
    }
    return Evaluated(result=result, outcome=outcome)


def write(evaluated: Evaluated, out: Path, collection: Collection | None = None) -> list[Path]:
    """Writes the run of every stage, `result.json` and `report.html`; returns their paths, the run of the last stage first.

    Where a server keeps the judgements there is nothing to report; what is submitted to it is written instead. All of it is made before
    the folder is touched, `result.json` comes last, and what an earlier evaluation left there and this one has not goes.

    Raises:
        InputError: the ranking cannot be submitted; see `submission`. The rest stands in the folder, with a note of that.
    """
    systems, benchmark = evaluated.outcome.systems, evaluated.outcome.benchmark
    names = [*["first_stage.trec", *(f"stage-{n}.trec" for n in range(1, len(systems)))][: len(systems) - 1], "run.trec"]
    runs = {name: _as_run(system, evaluated.result["made_by"]) for name, system in zip(names, systems, strict=True)}
    texts = {name: text for run, ranking in runs.items() for name, text in run_texts(run, ranking).items()}
    refusal: InputError | None = None
    submitted: dict[str, str] = {}
    if benchmark.server and not benchmark.judged:
        try:
            submitted = submission_texts(benchmark, systems[-1].rankings)
        except InputError as error:
            refusal = error
            evaluated.result["notes"].append(f"there is nothing to submit: {error.message}")
    evaluated.result["run_file"] = str(out / names[-1])
    report = {"report.html": _report(evaluated, collection)} if benchmark.judged else {}
    texts |= submitted | report
    evaluated.result["files"] = sorted([*texts, RESULT])
    replace_files(out, texts | {RESULT: json.dumps(evaluated.result, indent=1, ensure_ascii=False, default=str) + "\n"})
    if refusal is not None:
        raise refusal
    return [out / name for name in (*reversed(names), RESULT, *report, *submitted)]


def _report(evaluated: Evaluated, collection: Collection | None) -> str:
    from mmrerank.evaluation.report import render

    return render(evaluated.result, evaluated.outcome, None if collection is None else collection.item)


def _as_run(system: System, origin: Mapping[str, Any]) -> Run:
    return Run(
        tag=f"mmrerank-{part_of(system.stages[-1])}",
        rankings=system.rankings,
        scores=system.scores,
        made_by={**origin, "stages": list(system.stages)},
    )
