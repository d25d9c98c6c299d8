"""Parts have names: `make("superglobal(neighbours=3)")` builds the part that its name says.

A part is one file in a station's folder with `Options` (a frozen dataclass), `build(options, ...)` and `tiny()`. Its
name is the file's name; `-` and `_` are the same. The grammar of a name:

    name                      dense
    name/argument             openclip/ViT-B-32.laion2b_s34b_b79k@224     the argument fills the first option
    name(option=value, ...)   superglobal(neighbours=9, beta=0.15)        values are Python literals or bare words

A part that asks a model may name it, and then no other is asked. All that stands behind the slash is the name of that backend, with
brackets of its own; what the part's own brackets say stands before:

    name/backend              ragllava/mini       square/chat_http/http://host:8000/v1#MODEL
    name(option=value)/backend                    ragllava(task=caption)/local/PATH(batch_size=4)

(What is no backend's name fills the first option as ever: `ragllava/caption`.) Of every reranker `depth=N` among the options says how
many candidates it sees; where it has an option of that name itself (`square`), the one number is both. So a cascade is

    --rerank "ragllava(depth=100)/mini" --rerank "square(depth=9)/local/PATH"

A part of somebody else's package is named by its place, `package.module:attribute`, with argument, options and backend as above. The
attribute is a part (it has `Options` and `build`, as a module, a class or any object), or a class or function that is called with what
its parameters name (`backend`, `descriptors`, `corpus`) and takes no options; without an attribute (`package.module:`) the module is the
part. A package that declares it under an entry point group, `mmrerank.rerankers` and so on, gives it a short name. No module is
imported that was not named.

`printed` writes the name back with every option that moves a number, so that it parses to the same part. Options made
with `runtime_option` (batch size, device) only move speed and are left out. After an argument only what is not the default is written,
and what was made with `always_named`. A stage shows depth and backend where its name said them.

What a part needs is what its `build` asks for by name; `requires` reads it, and nothing else does.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from mmrerank.errors import InputError, MMRerankError, UnknownName

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

STATIONS = {  # station folder -> what one of its parts is called
    "readers": "reader",
    "encoders": "encoder",
    "index": "index",
    "backends": "backend",
    "retrievers": "retriever",
    "rerankers": "reranker",
    "answering": "answerer",
}
# what is taken where nothing is named; the only place outside the stations that knows a method by its name
BY_WORDS, BY_DESCRIPTORS, BY_BOTH = "lexical", "dense", "composed"  # first stages
QUOTING, WRITING = "extractive", "generative"  # answerers
RERANKS_BY_WORDS = "bm25"  # needs nothing, and is always there
BY_RECIPE = "judge"  # asks any model as a recipe says
DOORS = {"backend": "backend", "descriptors": "encoder"}  # resource -> the option of the command line that gives it
_PACKAGE = Path(__file__).parent
_READING = threading.Lock()  # Python 3.11 counts how deep it is in a text for all threads together, and fails where two read at once
_OUTSIDE = r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:(?:[A-Za-z_]\w*)?"
_HEAD = re.compile(rf"{_OUTSIDE}(?=[/(]|$)|[A-Za-z][\w-]*")
_REST = re.compile(r"(?:/(?P<argument>.+?))?(?:\((?P<options>\s*|\s*\w+\s*=.*)\))?", re.DOTALL)
FORMS = "NAME, NAME/ARGUMENT, NAME(option=value, ...) or NAME(option=value, ...)/BACKEND"


def runtime_option(default: Any) -> Any:
    """A dataclass field that moves speed or memory only, and so stays out of the printed name."""
    return dataclasses.field(default=default, metadata={"in_name": False})


def always_named(default: Any) -> Any:
    """A dataclass field that the printed name shows even at its default: one that came later, or whose default may move, so that
    what was kept under the old name is not taken for its like."""
    return dataclasses.field(default=default, metadata={"in_name": "always"})


@dataclass(frozen=True, kw_only=True)
class PartName:
    """A parsed name: the part, its argument (after the slash), its options, and the backend that stands behind these."""

    part: str  # the name of a file, or `package.module:attribute`
    argument: str | None = None
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    backend: str | None = None

    def __str__(self) -> str:
        """The name that parses to this.

        >>> str(PartName(part="square", options={"depth": 9}, backend="mini"))
        'square(depth=9)/mini'
        """
        inside = ", ".join(f"{option}={value!r}" for option, value in self.options.items())
        argument = "" if self.argument is None else f"/{self.argument}"
        brackets = f"({inside})" if inside or self.backend is not None else ""
        return f"{self.part}{argument}{brackets}" + ("" if self.backend is None else f"/{self.backend}")


def parse(name: str) -> PartName:
    """The pieces of a part's name.

    Raises:
        InputError: it does not follow the grammar.

    >>> parse("superglobal(neighbours=9, beta=0.15)").options
    {'neighbours': 9, 'beta': 0.15}
    >>> parse("openclip/mini").argument
    'mini'
    >>> parse("square(depth=9)/local/models/judge").backend
    'local/models/judge'
    """
    if not isinstance(name, str):
        raise InputError(f"a part's name is a text; got {type(name).__name__}", hint=f"Expected {FORMS}.")
    text = name.strip()
    head = _HEAD.match(text)
    part, rest = ("", "") if head is None else (head[0], text[head.end() :])
    options, backend = _before_backend(rest)
    match = _REST.fullmatch(options)
    if not part or match is None:
        raise InputError(f"{name!r} is not a part's name", hint=f"Expected {FORMS}.")
    known = part if ":" in part else _file_name(part)
    return PartName(part=known, argument=match["argument"], options=_keywords(match["options"] or "", name), backend=backend)


def _file_name(part: str) -> str:
    """The name of a part as its file has it."""
    return part.replace("-", "_").lower()


def _before_backend(rest: str) -> tuple[str, str | None]:
    """What follows a part's head, cut where its brackets close and a slash comes: before it, and the backend behind it."""
    if not rest.startswith("("):
        return rest, None
    quote, depth, escaped = "", 0, False
    for place, letter in enumerate(rest):
        if quote:
            escaped, quote = letter == "\\" and not escaped, "" if letter == quote and not escaped else quote
        elif letter in "'\"":
            quote = letter
        else:
            depth += (letter in "([{") - (letter in ")]}")
            if depth == 0:
                behind = rest[place + 1 :]
                return (rest[: place + 1], behind[1:]) if behind.startswith("/") and len(behind) > 1 else (rest, None)
    return rest, None


def _keywords(text: str, name: str) -> dict[str, Any]:
    try:
        with _READING:
            call = ast.parse(f"f({text})", mode="eval").body
        if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name) or call.args or any(k.arg is None for k in call.keywords):
            raise ValueError("every option needs its name")
        return {str(k.arg): _literal(k.value) for k in call.keywords}
    except (SyntaxError, ValueError) as error:
        raise InputError(f"the options of {name!r} cannot be read: {error}", hint="Expected (option=value, ...).") from error


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Attribute | ast.BinOp):  # a file's name without its quotes
        raise ValueError(f"{ast.unparse(node)} needs quotes around it")
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)  # a bare word is a string


def as_tuple(value: Any) -> tuple[Any, ...]:
    """Several things in a row, and one thing alone as a row of one: a text is one name, not its letters.

    >>> as_tuple("square"), as_tuple(["square", "bm25"])
    (('square',), ('square', 'bm25'))
    """
    return (value,) if isinstance(value, str) or not isinstance(value, Iterable) else tuple(value)


@runtime_checkable
class PartFactory(Protocol):
    """What makes a part: a module, or whatever else has these two."""

    Options: type[Any]

    def build(self, options: Any, /, **resources: Any) -> Any: ...


@runtime_checkable
class WrappingPart(Protocol):
    """What the module of a part declares that works through another one: what that one needs, it needs too."""

    def inner(self, options: Any) -> str:
        """The name of the part within, for these options of the part around it."""
        ...


@dataclass(frozen=True)
class NoOptions:
    """The options of a class or function of somebody else's that takes none."""


class _Called:
    """A class or function of somebody else's as a part without options: called with the resources that its parameters name."""

    Options = NoOptions

    def __init__(self, maker: Any) -> None:
        self.maker = maker
        self.__doc__ = maker.__doc__

    def build(self, options: NoOptions, /, **resources: Any) -> Any:
        return self.maker(**resources)


@cache
def names(station: str) -> tuple[str, ...]:
    """The names of the parts of one station that ship, sorted: its files that do not begin with an underscore."""
    return tuple(sorted(file.stem for file in (_PACKAGE / station).glob("*.py") if not file.stem.startswith("_")))


@cache
def installed(station: str) -> Mapping[str, EntryPoint]:
    """The parts that installed packages declare under the entry point group `mmrerank.STATION`, by name; none of them is imported."""
    from importlib.metadata import entry_points  # here, since it brings all of `email`

    declared = sorted(entry_points(group=f"mmrerank.{station}"), key=lambda point: (point.name, point.value))
    return {name: point for point in reversed(declared) if (name := _file_name(point.name)) not in names(station)}


def module(name: str, *, station: str | None = None) -> PartFactory:
    """What makes a part: its module, found by its name in one station or in all, or what a package from outside holds under it.

    Raises:
        UnknownName: there is none; the message lists the real ones and the nearest.
        InputError: a module from outside cannot be imported, or holds no part there.
    """
    return _factory(parse(name).part, station)


def _factory(part: str, station: str | None) -> PartFactory:
    if ":" in part:
        return _from_outside(part)
    stations = [station] if station else list(STATIONS)
    for place in stations:
        if part in names(place):
            return _as_factory(import_module(f"mmrerank.{place}.{part}"), part)
        if part in installed(place):
            return _from_outside(installed(place)[part].value.replace(" ", ""), part)
    kind = STATIONS[station] if station else "part"
    raise UnknownName.among(kind, part, [known for place in stations for known in (*names(place), *installed(place))])


def _from_outside(place: str, name: str = "") -> PartFactory:
    """What stands at `package.module:attribute`; the module itself where no attribute is named."""
    path, _, attribute = place.partition(":")
    try:
        holder: Any = import_module(path)
        for piece in filter(None, attribute.split(".")):
            holder = vars(holder)[piece]
    except KeyError as error:
        raise InputError(f"the module {path!r} of the part {name or place!r} holds nothing called {attribute!r}") from error
    except (Exception, SystemExit) as error:  # whatever a module that is not ours raises as it is imported
        hint = "Its folder has to be on PYTHONPATH, or its package installed."
        why = f"{type(error).__name__}: {error}"
        raise InputError(f"the module of the part {name or place!r} cannot be imported: {why}", hint=hint) from error
    return _as_factory(holder, name or place)


def _as_factory(factory: Any, name: str) -> PartFactory:
    if isinstance(factory, PartFactory):
        return factory
    if not callable(factory):
        raise InputError(f"{name!r} is no part: it has no Options and build(), and is no class or function that makes one")
    return _Called(factory)


@dataclass(frozen=True, slots=True, kw_only=True)
class Requirements:
    """The resources that a part's `build` asks for by name."""

    needed: frozenset[str]  # without these it cannot be built
    used: frozenset[str]  # these too, where there are any


def requires(name: str, *, station: str | None = None) -> Requirements:
    """What must and what may be passed to make a part: "backend", "descriptors", "corpus", "api_key", "dimension". A model that its
    name says need not be passed.

    >>> sorted(requires("square", station="rerankers").needed), sorted(requires("rerank_http", station="rerankers").used)
    (['backend'], ['api_key'])
    """
    stage = stage_of(name, station=station)
    factory = _factory(stage.part.part, station)
    resources = _parameters(factory)
    bound = {"backend"} if stage.backend is not None else set()
    within = factory.inner(options_of(stage.part, factory.Options)) if isinstance(factory, WrappingPart) else None
    needed = resources.needed if within is None else resources.needed | requires(within, station=station).needed
    return Requirements(needed=needed - bound, used=resources.used)


def _parameters(factory: PartFactory) -> Requirements:
    """The one place that reads a signature: the parameters of `build` behind the options are its resources."""
    if isinstance(factory, _Called):
        parameters = list(inspect.signature(factory.maker).parameters.values())
    else:
        parameters = list(inspect.signature(factory.build).parameters.values())[1:]
    by_name = [p for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    return Requirements(
        needed=frozenset(p.name for p in by_name if p.default is p.empty), used=frozenset(parameter.name for parameter in by_name)
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class StageName:
    """A part's name, and what it says beside the part: how many candidates a reranker sees, and which model it asks."""

    part: PartName
    depth: int | None = None
    backend: str | None = None
    own_depth: bool = False  # `depth` is an option of the part itself too

    def __str__(self) -> str:
        """The name that gives this stage again."""
        depth = {} if self.depth is None or self.own_depth else {"depth": self.depth}
        return str(dataclasses.replace(self.part, options={**self.part.options, **depth}, backend=self.backend))

    @property
    def is_plain(self) -> bool:
        """Whether it says no more than the part."""
        return self.depth is None and self.backend is None


def stage_of(name: str, *, station: str | None = "rerankers") -> StageName:
    """What the name of a part says of its stage.

    Raises:
        UnknownName: there is no such part, or no backend of that name.
        InputError: the depth is no whole number from 1, or a model is named for a part that asks none.

    >>> stage = stage_of("ragllava(depth=20)/mini")
    >>> stage.depth, stage.backend, str(stage)
    (20, 'mini', 'ragllava(depth=20)/mini')
    """
    parsed = parse(name)
    factory = _factory(parsed.part, station)
    asks_model = "backend" in _parameters(factory).used
    backend = parsed.backend
    if backend is None and asks_model and parsed.argument is not None and _is_backend(parsed.argument):
        backend = name.strip().partition("/")[2]  # with its brackets, which are the backend's
        parsed = PartName(part=parsed.part)
    if backend is not None and not asks_model:
        message = f"{parsed.part!r} asks no model, and its name says one: {backend!r}"
        raise InputError(message, hint="Leave the slash and what follows it out.")
    if backend is not None:
        _factory(parse(backend).part, "backends")
    options, own = dict(parsed.options), "depth" in _fields(factory.Options)
    reranks = _reranks(parsed.part, station)
    depth = options.get("depth") if own else options.pop("depth", None) if reranks else None
    if depth is not None and not own and (isinstance(depth, bool) or not isinstance(depth, int) or depth < 1):
        raise InputError(f"the depth of {parsed.part!r} is a whole number from 1; got {depth!r}")
    depth = depth if reranks else None
    part = dataclasses.replace(parsed, options=options, backend=None)
    return StageName(part=part, depth=depth, backend=backend, own_depth=own and depth is not None)


def _reranks(part: str, station: str | None) -> bool:
    """Whether a part is a reranker; of no station in particular, by the names that ship."""
    return station == "rerankers" or (station is None and part in names("rerankers"))


def _is_backend(text: str) -> bool:
    """Whether a text behind a slash begins as the name of a backend does."""
    head = _HEAD.match(text)
    if head is None or text[head.end() : head.end() + 1] not in ("", "/", "("):
        return False
    return ":" in head[0] or _file_name(head[0]) in {*names("backends"), *installed("backends")}


def _fields(record: type[Any]) -> list[str]:
    return [field.name for field in dataclasses.fields(record)]


class StagedReranker:
    """A reranker whose name says its depth, or its model."""

    def __init__(self, reranker: Any, stage: StageName, name: str) -> None:
        self.name = name
        self.within = reranker
        self.stage = stage

    @property
    def depth(self) -> int | None:
        """How many candidates it sees; None: as many as rerankers see whose names say nothing."""
        return self.stage.depth

    def rerank(self, query: Any, candidates: Any) -> Any:
        """The candidates in the order of the reranker."""
        return self.within.rerank(query, candidates)

    def around(self, reranker: Any) -> StagedReranker:
        """The same stage with another reranker in it, such as one that this one stands within."""
        return StagedReranker(reranker, self.stage, self.name)


def check_name(name: str, *, station: str) -> None:
    """Nothing where the name can be made once its resources are there.

    Raises:
        UnknownName: no such part, option or backend.
        InputError: an option has a wrong type.
    """
    stage = stage_of(name, station=station)
    options_of(stage.part, _factory(stage.part.part, station).Options)
    if stage.backend is not None:
        check_name(stage.backend, station="backends")


def make(name: str | StageName, *, station: str | None = None, **resources: Any) -> Any:
    """The part that `name` describes.

    Args:
        name: see the head of this file.
        station: look there only ("encoders", "rerankers", ...).
        resources: what the part's `build` asks for by name (`corpus`, `backend`, `descriptors`, `dimension`);
            those that it does not ask for are left aside. A model that a text names is made here, and stands in place of `backend`; of a
            `StageName` the backend among the resources is that model, opened.

    Raises:
        UnknownName: no such part or option.
        InputError: an option has a wrong type, or `build` asks for a resource that was not passed.
    """
    if isinstance(name, str):
        stage = stage_of(name, station=station)
        if stage.backend is not None:
            keys = {key: value for key, value in resources.items() if key == "api_key"}
            resources = {**resources, "backend": make(stage.backend, station="backends", **keys)}
    else:
        stage = name
    factory = _factory(stage.part.part, station)
    options = options_of(stage.part, factory.Options)
    part = _built(stage.part, factory, options, _resources_for(str(stage.part), factory, resources))
    full = printed(stage.part.part, options)
    if ":" in stage.part.part or (station is not None and stage.part.part not in names(station)):
        _rename(part, full)
    if stage.is_plain:
        return part
    named = _stage_name(full, stage, resources.get("backend"))
    if _reranks(stage.part.part, station):
        return StagedReranker(part, stage, named)
    _rename(part, named)
    return part


def _built(name: PartName, factory: PartFactory, options: Any, resources: Mapping[str, Any]) -> Any:
    """The part; whatever one of somebody else's raises as it is made is told as an error of its name."""
    if ":" not in name.part:
        return factory.build(options, **resources)
    try:
        return factory.build(options, **resources)
    except MMRerankError:
        raise
    except Exception as error:
        raise InputError(f"the part {str(name)!r} cannot be made: {type(error).__name__}: {error}") from error


def _resources_for(name: str, factory: PartFactory, resources: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the resources that `build` asks for."""
    parameters = _parameters(factory)
    missing = [resource for resource in sorted(parameters.needed) if resource not in resources]
    if missing:
        door = f", or --{DOORS[missing[0]]} NAME on the command line" if missing[0] in DOORS else ""
        raise InputError(f"{name!r} needs {', '.join(missing)}", hint=f"Pass {missing[0]}=... to make(){door}.")
    return {resource: value for resource, value in resources.items() if resource in parameters.used}


def _rename(part: Any, name: str) -> None:
    """Gives a part the name that makes it again: one from outside does not know where it was found."""
    try:
        part.name = name
    except AttributeError as error:
        raise InputError(f"the part {name!r} does not let its name be set: {error}") from error


def _stage_name(full: str, stage: StageName, backend: Any) -> str:
    depth = "" if stage.depth is None or stage.own_depth else f"depth={stage.depth}"
    head = full.removesuffix(")")
    if depth:
        full = f"{head}, {depth})" if full.endswith(")") else f"{head}({depth})"
    if stage.backend is None:
        return full
    return f"{full}/{backend.name}" if full.endswith(")") else f"{full}()/{backend.name}"


def options_of(name: str | PartName, record: type[Any]) -> Any:
    """The options record that a name describes, with its types checked.

    Raises:
        UnknownName: an option that the record does not have.
        InputError: a value of the wrong type, or an argument where the part takes none.
    """
    from pydantic import TypeAdapter, ValidationError

    parsed = parse(name) if isinstance(name, str) else name
    fields = _fields(record)
    values = dict(parsed.options)
    if parsed.argument is not None:
        if not fields or fields[0] in values:
            raise InputError(f"{parsed.part!r} takes no argument after a slash; got {parsed.argument!r}")
        values = {fields[0]: parsed.argument, **values}
    for unknown in (key for key in values if key not in fields):
        raise UnknownName.among(f"option of {parsed.part!r}", unknown, fields)
    try:
        return TypeAdapter(record).validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        option = ".".join(str(piece) for piece in first["loc"]) or "options"
        raise InputError(f"{parsed.part!r}: {option}: {first['msg']}; got {first['input']!r}") from error


def printed(part: str, options: Any, *, argument: bool = False) -> str:
    """The name that parses back to these options; with `argument`, the first option goes after the slash.

    >>> @dataclass(frozen=True)
    ... class Options:
    ...     depth: int = 9
    ...     batch_size: int = runtime_option(32)
    >>> printed("square", Options())
    'square(depth=9)'
    """
    fields = [field for field in dataclasses.fields(options) if field.metadata.get("in_name", True)]
    head = part
    if argument:
        head = f"{part}/{getattr(options, fields[0].name)}"
        fields = [f for f in fields[1:] if f.metadata.get("in_name") == "always" or getattr(options, f.name) != f.default]
    inside = ", ".join(f"{field.name}={getattr(options, field.name)!r}" for field in fields)
    return f"{head}({inside})" if inside else head
