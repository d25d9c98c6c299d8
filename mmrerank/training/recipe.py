"""Recipes: TOML files that say what is trained, on what, how, and what it is measured on.

    name = "query_likelihood"
    [model]                     backend, frozen_layers, [model.lora] or every weight; or network, base, options
    [data]                      layout and its files; see `data`
    [data.draw]                 how many right and wrong candidates a group has, and from which ranks
    [[stages]]                  one after the other: reranker, loss or rewards, steps, learning rate; [stages.data] where it has its own
    [[heldout]]                 as [data], with the measures; only reported, never chosen on

A path is below the folder of the data (`--data`), else beside the recipe. What a recipe leaves out has the default that stands here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from mmrerank.errors import FormatError, InputError, UnknownName
from mmrerank.text_files import read_toml

SHIPPED = Path(__file__).parent / "recipes"
Table = TypeVar("Table")
Count: TypeAlias = Annotated[int, Field(ge=1)]
Whole: TypeAlias = Annotated[int, Field(ge=0)]
Share: TypeAlias = Annotated[float, Field(ge=0, le=1)]
OF_SOURCES = ("layout", "part", "heldout_share")  # keys that every layout has
OF_HELDOUT = ("name", "rerank", "measures", "depth")


@dataclass(frozen=True, kw_only=True)
class Lora:
    """Low-rank adapters in place of the weights themselves: Hu et al. 2021, made by peft."""

    rank: Count = 16
    alpha: Count = 32
    dropout: Share = 0.0
    modules: tuple[str, ...] = ("q_proj", "v_proj", "o_proj", "up_proj", "down_proj")  # ends of the names of linear layers


@dataclass(frozen=True, kw_only=True)
class Model:
    """What is trained: a language model, or a network of its own."""

    backend: str = ""  # such as local/PATH; the caller names it where it is empty
    network: str = ""  # in its place: a name of `trainee`
    base: str = ""  # what the network begins with: a folder below the data, or a name on the hub
    options: Mapping[str, Any] = field(default_factory=dict)  # of the network
    lora: Lora | None = None  # None: every weight is trained
    frozen_layers: Whole = 0  # so many from below stay as they are; of texts their states are computed once and kept, in half precision


@dataclass(frozen=True, kw_only=True)
class Band:
    """Wrong candidates from these ranks of the first stage, counted from 1."""

    first: Count = 1
    last: Count = 1000
    count: Count = 1


@dataclass(frozen=True, kw_only=True)
class Draw:
    """What of a query's candidates makes one group."""

    positives: Count = 1
    negatives: tuple[Band, ...] = (Band(last=10, count=2), Band(first=11, count=2))
    fresh: bool = False  # whether wrong ones are drawn anew in every pass over the data; else kept states of them serve again


@dataclass(frozen=True, kw_only=True)
class Source:
    """Judged queries with candidates."""

    layout: str
    options: Mapping[str, Any] = field(default_factory=dict)  # of the layout: its files and how they are read
    part: Literal["all", "train", "held_out"] = "all"  # by a hash of the query's id
    heldout_share: Share = 0.2  # how much of the data that part is
    draw: Draw = Draw()


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One way of training, for so many steps."""

    name: str = ""
    reranker: str  # whose prompts are sent, with its options
    data: Source | None = None  # where it is other than the recipe's
    beside: str = ""  # another reading of the same candidates, for losses that take `query_scores`
    method: Literal["supervised", "reinforce"] = "supervised"
    loss: str = ""  # a name of `losses`
    options: Mapping[str, Any] = field(default_factory=dict)  # of the loss, or of reinforcement
    rewards: tuple[str, ...] = ()  # names of `rewards`
    answer: str = ""  # a name of `answers`: the text that is taught, where the model writes
    steps: Count = 100
    groups: Count = 2  # queries a step
    accumulate: Count = 1  # passes of so many queries before the weights move
    learning_rate: Annotated[float, Field(gt=0)] = 1e-4
    warmup: Share = 0.05  # of the steps
    schedule: Literal["cosine", "linear", "constant_with_warmup"] = "cosine"
    weight_decay: Share = 0.0
    gradient_norm: Annotated[float, Field(gt=0)] = 1.0
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    checkpointing: bool = False  # compute activations again in the backward pass in place of keeping them
    save_every: Count = 50  # steps
    keep: Count = 3  # checkpoints


@dataclass(frozen=True, kw_only=True)
class Heldout:
    """What is measured before and after."""

    name: str
    source: Source
    rerank: str = ""  # the reranker that is measured; that of the last stage where it is empty
    measures: tuple[str, ...] = ("AP", "RR")
    depth: Count = 100


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A file, read and checked."""

    path: Path
    name: str
    title: str = ""
    source: str = ""  # paper, code, what is ours
    seed: Whole = 0
    model: Model = Model()
    data: Source
    stages: tuple[Stage, ...]
    heldout: tuple[Heldout, ...] = ()

    @property
    def digest(self) -> str:
        """16 hex digits that tell what is trained on what; where it is measured has no part in it."""
        content = asdict(self)
        for key in ("path", "heldout", "title", "source"):
            del content[key]
        return hashlib.sha256(repr(content).encode()).hexdigest()[:16]


def shipped() -> dict[str, Path]:
    """The recipes that ship, by name."""
    return {path.stem: path for path in sorted(SHIPPED.glob("*.toml"))}


def read_recipe(name: str | Path) -> Recipe:
    """The recipe in a file, or the shipped one of that name.

    Raises:
        InputError: there is no such file or name.
        UnknownName: a key that there is none of.
        FormatError: a key is missing, or its value is of another kind.
    """
    path = Path(name)
    if not path.is_file():
        if str(name) not in shipped():
            raise UnknownName.among("recipe", str(name), shipped()) if path.suffix != ".toml" else InputError(f"there is no recipe {path}")
        path = shipped()[str(name)]
    content = read_toml(path)
    check_keys("key of a recipe", content, [one.name for one in fields(Recipe) if one.name != "path"])
    if missing := [key for key in ("name", "data", "stages") if not content.get(key)]:
        raise FormatError(f"the recipe lacks {', '.join(missing)}", path=path, hint="Expected name, [data] and [[stages]].")
    model = _rows(content, "model", path)
    stages = tuple(_stage(row, n, path) for n, row in enumerate(_rows(content, "stages", path, is_list=True), 1))
    return Recipe(
        path=path,
        **{key: content[key] for key in ("name", "title", "source", "seed") if key in content},
        model=_model(model[0] if model else {}, path),
        data=_source(_rows(content, "data", path)[0], "data", path),
        stages=stages,
        heldout=tuple(_heldout(row, n, path) for n, row in enumerate(_rows(content, "heldout", path, is_list=True), 1)),
    )


def check_keys(kind: str, keys: Mapping[str, Any] | Sequence[str], known: Sequence[str]) -> None:
    """UnknownName for a key that is not among those known."""
    for key in keys:
        if key not in known:
            raise UnknownName.among(kind, key, known)


def _rows(content: Mapping[str, Any], key: str, path: Path, *, is_list: bool = False) -> list[dict[str, Any]]:
    value = content.get(key, [])
    rows = value if isinstance(value, list) and is_list else [value] if value != [] else []
    if not all(isinstance(row, dict) for row in rows):
        raise FormatError(f"{key} is written as {f'[[{key}]]' if is_list else f'[{key}]'}; got {value!r:.60}", path=path)
    return rows


def _table(kind: type[Table], values: Mapping[str, Any], where: str, path: Path) -> Table:
    check_keys(f"key of {where}", values, [one.name for one in fields(kind)])  # type: ignore[arg-type]
    try:
        return TypeAdapter(kind).validate_python(dict(values))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(piece) for piece in first["loc"])
        raise FormatError(f"{where} {place}: {first['msg']}; got {first['input']!r:.60}", path=path) from error


def _model(values: Mapping[str, Any], path: Path) -> Model:
    rest = {key: value for key, value in values.items() if key != "lora"}
    lora = _table(Lora, values["lora"], "[model.lora]", path) if "lora" in values else None
    return _table(Model, {**rest, "lora": lora}, "[model]", path)


def _source(values: Mapping[str, Any], where: str, path: Path) -> Source:
    """A table of data: what every layout has, and the rest as options of the layout."""
    own = {key: values[key] for key in OF_SOURCES if key in values}
    options = {key: value for key, value in values.items() if key not in (*OF_SOURCES, "draw")}
    if "layout" not in own:
        raise FormatError(f"[{where}] lacks layout", path=path)
    return _table(Source, {**own, "options": options, "draw": _draw(values.get("draw", {}), f"[{where}.draw]", path)}, f"[{where}]", path)


def _draw(values: Mapping[str, Any], where: str, path: Path) -> Draw:
    bands = values.get("negatives")
    if bands is None:
        return _table(Draw, values, where, path)
    if not isinstance(bands, list) or not all(isinstance(band, dict) for band in bands):
        raise FormatError(f"{where} negatives: expected [{{ first = 1, last = 10, count = 2 }}, ...]; got {bands!r:.60}", path=path)
    rows = tuple(_table(Band, band, f"{where} negatives", path) for band in bands)
    return _table(Draw, {**values, "negatives": rows}, where, path)


def _stage(values: Mapping[str, Any], number: int, path: Path) -> Stage:
    own = {"data": _source(values["data"], "stages.data", path)} if "data" in values else {}
    stage = _table(Stage, {"name": f"stage-{number}", **values, **own}, "[[stages]]", path)
    if stage.method == "supervised" and not stage.loss:
        raise FormatError(f"[[stages]] {stage.name} lacks loss", path=path)
    if stage.method == "reinforce" and not stage.rewards:
        raise FormatError(f"[[stages]] {stage.name} lacks rewards", path=path)
    return stage


def _heldout(values: Mapping[str, Any], number: int, path: Path) -> Heldout:
    own = {key: values[key] for key in OF_HELDOUT if key in values}
    rest = {key: value for key, value in values.items() if key not in OF_HELDOUT}
    where = "[[heldout]]"
    return _table(Heldout, {"name": f"heldout-{number}", **own, "source": _source(rest, "heldout", path)}, where, path)
