"""A recipe from its first step to its card: stages one after the other, then what it brought on held-out queries.

    OUT/recipe.toml    as it was read                  OUT/stages/N-NAME/    checkpoints, and at last the weights of the stage
    OUT/log.txt        for people; log.jsonl           OUT/adapter/          what `local/` loads; `model/` where all weights were trained
    OUT/curves.png     losses                          OUT/heldout/          the order of every held-out query
    OUT/CARD.md        the figures; card.json          OUT/run.json          what made it

Called again after a kill it goes on: finished stages are not repeated, one that was begun goes on from its last checkpoint with the data
that it would have seen, and of held-out queries those come that have not.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from mmrerank.backends import open_backend
from mmrerank.errors import InputError, MissingExtra
from mmrerank.parts import check_name, make
from mmrerank.protocols import Weighted
from mmrerank.provenance import made_by
from mmrerank.text_files import read_json, read_text, write_text
from mmrerank.training.data import ANSWERS, Judged, check_source, read_groups
from mmrerank.training.journal import Journal, write_card
from mmrerank.training.measured import AFTER, BEFORE, check_measurable, figures, orders
from mmrerank.training.recipe import Heldout, Recipe, Stage

if TYPE_CHECKING:
    from mmrerank.training.collate import Sample

logger = logging.getLogger(__name__)
Advance = Callable[[int, int], None]


class Watcher(Protocol):
    """Who is reports how far a training is."""

    def __call__(self, what: str) -> Advance:
        """Begins with something, such as a stage, and gets steps done and expected of it."""
        ...


def unwatched(what: str) -> Advance:
    """Tells nobody."""
    return lambda done, expected: None


@dataclass(frozen=True, kw_only=True)
class Training:
    """A recipe with where its data lie and where its results go."""

    recipe: Recipe
    out: Path
    data: Path
    backend: str  # "" where a network of its own is trained
    cache: Path  # collections of cards, and answers of models that are not trained
    watch: Watcher = unwatched

    @classmethod
    def of(
        cls, recipe: Recipe, out: Path, *, data: Path | None = None, backend: str | None = None, cache: Path, watch: Watcher = unwatched
    ) -> Training:
        """A training, checked as far as it can be without a model.

        Args:
            data: folder below which the recipe's files lie; the recipe's own when None.
            backend: the model, in place of the recipe's.

        Raises:
            InputError: no model is named, or one beside a network; a method is no reranker; the folder holds another training.
            UnknownName: a network, layout, loss, reward, measure, answer or option that there is none of.
            MissingExtra: a library is missing.
        """
        model = backend or recipe.model.backend
        _check_model(recipe, model)
        for source in (recipe.data, *(one.data for one in recipe.stages if one.data), *(one.source for one in recipe.heldout)):
            check_source(source)
        for stage in recipe.stages:
            for name in filter(None, (stage.reranker, stage.beside)):
                check_name(name, station="rerankers")
            _check(stage)
        for heldout in recipe.heldout:
            check_measurable(heldout.measures)
            if heldout.rerank:
                check_name(heldout.rerank, station="rerankers")
        training = cls(recipe=recipe, out=out, data=data or recipe.path.parent, backend=model, cache=cache, watch=watch)
        training._check_folder()
        return training

    def _check_folder(self) -> None:
        earlier = self.out / "run.json"
        if earlier.is_file() and read_json(earlier).get("digest") != self.digest:
            raise InputError(f"{self.out} holds the training of another recipe, model or data", hint="Take another folder, or remove it.")
        if not earlier.is_file() and self.out.is_dir() and any(self.out.iterdir()):
            raise InputError(f"{self.out} is not empty, and holds no training", hint="Take another folder.")

    @property
    def digest(self) -> str:
        """What tells this training from others."""
        return f"{self.recipe.digest} {self._base} {self.data.resolve()}"

    @property
    def _base(self) -> str:
        """What is trained, for people."""
        return self.backend or f"{self.recipe.model.network}/{self.recipe.model.base}"

    def run(self) -> dict[str, Any]:
        """Trains, measures, and returns the card."""
        journal = Journal(self.out)
        facts = self._trained(journal)
        journal.draw()
        results = [self._measured(heldout, journal) for heldout in self.recipe.heldout]
        card = {"recipe": self.recipe.name, **facts, "heldout": results, "made_by": read_json(self.out / "run.json")["made_by"]}
        write_card(self.recipe, card, self.out)
        journal.note("done")
        return card

    # ------------------------------------------------------------------

    @property
    def result(self) -> Path:
        """The folder that `local/` loads."""
        return self.out / ("adapter" if self.recipe.model.lora else "model")

    def _trained(self, journal: Journal) -> dict[str, Any]:
        """Runs the stages that are left; returns what the card says of the training."""
        facts = self.out / "facts.json"
        if facts.is_file():
            return dict(read_json(facts))
        from mmrerank.training.trainee import open_trainee, weights_hash

        judged = read_groups(self.recipe.data, self.data, self.cache)
        student = open_trainee(self.recipe.model, self.backend, self.data, self.recipe.seed)
        weights = student.weights_hash if isinstance(student, Weighted) else weights_hash(student)
        self._sign(judged, weights)
        count = sum(weight.numel() for weight in student.trained.values())
        journal.note(f"{self.recipe.name}: {count:,} weights of {self._base}, {len(judged.groups)} queries, {judged.first_stage}")
        for number, stage in enumerate(self.recipe.stages, 1):
            self._stage(stage, student, judged, self.out / "stages" / f"{number}-{stage.name}", journal)
        student.save(self.result)
        card = {
            "base": Path(student.origin).name,  # a card goes to other machines, and the hash beside it tells which weights they were
            "weights": weights,
            "trained_weights": count,
            "queries": sum(group.is_mixed for group in judged.groups),
            "stages": [_described(stage) for stage in self.recipe.stages],
            "use": self._use(),
        }
        write_text(facts, json.dumps(card, indent=1) + "\n")
        return card

    def _use(self) -> str:
        reranker = self._trained_name(self.recipe.stages[-1].reranker)
        return f'--rerank "{reranker}"' + (f" --backend local/{self.result}" if self.backend else "")

    def _trained_name(self, reranker: str) -> str:
        """The reranker as it is asked for afterwards: a network of its own is named by the folder that holds it."""
        head, bracket, options = reranker.partition("(")
        return f"{head}/{self.result}{bracket}{options}" if head == self.recipe.model.network else reranker

    def _sign(self, judged: Judged, weights: str) -> None:
        """Makes the folder, once data and model are there: what was refused leaves none that the next call would stumble over."""
        self.out.mkdir(parents=True, exist_ok=True)
        write_text(self.out / "recipe.toml", read_text(self.recipe.path))  # which may be that very file
        origin = made_by(
            recipe=self.recipe.name,
            recipe_digest=self.recipe.digest,
            backend=self._base,
            weights=weights,
            seed=self.recipe.seed,
            first_stage=judged.first_stage,
            queries=len(judged.groups),
        )
        write_text(self.out / "run.json", json.dumps({"digest": self.digest, "made_by": origin}, indent=1) + "\n")

    def _stage(self, stage: Stage, student: Any, judged: Judged, folder: Path, journal: Journal) -> None:
        """Trains the student by one stage, or gives it the weights of one that is done."""
        from mmrerank.training.supervised import WEIGHTS, Schedule, load_weights, save_weights, train_stage

        done = folder / "done"
        if (done / WEIGHTS).is_file():
            load_weights(student, done)
            return
        count = stage.steps * stage.groups * stage.accumulate
        source = stage.data or self.recipe.data
        groups = judged.groups if stage.data is None else read_groups(source, self.data, self.cache).groups
        samples = Schedule(groups, source.draw, count, seed=self.recipe.seed, name=stage.name)
        journal.note(f"{stage.name}: {stage.reranker}, {_what(stage)}, {stage.steps} steps of {stage.groups * stage.accumulate} queries")
        self._warn(stage, student, samples, journal)
        reports: dict[str, Any] = {
            "seed": self.recipe.seed,
            "tell": lambda values: journal.record(stage.name, values),
            "advance": self.watch(stage.name),
        }
        if stage.method == "reinforce":
            from mmrerank.training.reinforce import reinforce_stage

            reinforce_stage(stage, student, samples, folder, **reports)
        else:
            train_stage(stage, student, samples, folder, **reports)
        save_weights(student, done)
        journal.draw()

    def _warn(self, stage: Stage, student: Any, samples: Sequence[Sample], journal: Journal) -> None:
        """Says what of the queries the prompt does not have: whatever is asked by it cannot be learnt."""
        from mmrerank.training.collate import request_of

        if not self.backend or not samples[0].candidates:
            return
        for message in request_of(stage.reranker, samples[0].query, samples[0].candidates, student.backend).left_aside:
            journal.note(f"{stage.name}: of query {samples[0].query.query_id!r} {message}")
            logger.warning("%s: %s: of query %r %s", stage.name, stage.reranker, samples[0].query.query_id, message)

    def _measured(self, heldout: Heldout, journal: Journal) -> dict[str, Any]:
        """The figures on one held-out source; a network of its own has none before, since random weights never serve."""
        judged = read_groups(heldout.source, self.data, self.cache)
        reranker = heldout.rerank or self.recipe.stages[-1].reranker
        folder = self.out / "heldout"
        folder.mkdir(exist_ok=True)
        systems = {}
        models = {BEFORE: self.backend, AFTER: f"local/{self.result}"} if self.backend else {AFTER: ""}
        for name, model in models.items():
            backend = open_backend(model, cache=self.cache / ANSWERS if name == BEFORE else None) if model else None
            file = folder / f"{heldout.name}-{name}.jsonl"
            part = make(self._trained_name(reranker), station="rerankers", backend=backend)
            systems[name] = orders(judged, part, heldout.depth, file, self.watch(f"{heldout.name}, {name}"))
        result = figures(judged, heldout.measures, systems)
        journal.note(f"{heldout.name}: measured on {result['queries']} queries")
        return {"name": heldout.name, "depth": heldout.depth, "reranker": reranker, "measured_by": list(heldout.measures), **result}


def _check_model(recipe: Recipe, backend: str) -> None:
    """That the recipe names one thing to train, and that there is such a thing."""
    if recipe.model.network:
        if backend:
            raise InputError(f"the recipe {recipe.name!r} trains a network of its own and takes no backend")
        from mmrerank.training.trainee import check_network

        check_network(recipe.model.network)
    elif backend:
        check_name(backend, station="backends")
    else:
        raise InputError(f"the recipe {recipe.name!r} names no model", hint="Name one: --backend local/PATH; in Python, backend=...")


def _check(stage: Stage) -> None:
    """What of a stage can be checked by its names alone."""
    try:
        import peft  # noqa: F401
        import transformers  # noqa: F401

        from mmrerank.training.losses import named_loss
    except ImportError as error:
        raise MissingExtra.of("peft", "train", "training") from error
    from mmrerank.training.answers import answers_for
    from mmrerank.training.reinforce import options_of
    from mmrerank.training.rewards import named_reward

    if stage.method == "supervised":
        named_loss(stage.loss, stage.options)
    else:
        options_of(stage)
        for reward in stage.rewards:
            named_reward(reward)
    if stage.answer:
        answers_for(stage.answer)


def _what(stage: Stage) -> str:
    aim = f"loss {stage.loss}" if stage.method == "supervised" else f"rewards {' + '.join(stage.rewards)}"
    return f"{aim}, rate {stage.learning_rate:g} in {stage.precision}"


def _described(stage: Stage) -> dict[str, Any]:
    return {
        "name": stage.name,
        "reranker": stage.reranker,
        "what": _what(stage),
        "steps": stage.steps,
        "groups": stage.groups * stage.accumulate,
    }
