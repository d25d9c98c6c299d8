"""Recipes: how a checkpoint wants to be asked about one query and one document, as a TOML file.

    version = "1"
    about = "..."
    checkpoints = ["ORGANISATION/NAME"]          whose layout this is; `architectures` are their classes
    revision = "..."                             of the checkpoint, where a later one is known to differ

    [layout]
    turns = [{ role = "user", parts = ["Document: {document}\\n", "Query: {query}\\n", "{request}"] }]
    order = "pictures first"                     within a side; or "texts first"
    empty = "NULL"                               the word for a side that has nothing
    own_template = true                          the checkpoint's template may take the roles query and document

    [words]                                      sentences that `parts` name, and `excluded` for what must not be there
    [instructions]                               the task in a sentence, by its name: `search` is what nothing else says
    [answer]                                     choices = ["yes", "no"]; read = "log-odds", "expectation", "logit" or "log-probability"
    [limits]                                     tokens, pictures a side, pixels of each
    [[golden]]                                   query, document, log_odds: what the right checkpoint says of a pair

A part of a turn is text with placeholders: {query} and {document} (all that a side has), {query_pictures}, {query_text} and so on,
{instruction}, and any of the words. What stands between them may hold control tokens; what is filled in never does. A part that names the
instruction, or the text or the pictures of a side, is left out where there is none. `base = "NAME"` takes another recipe and changes what
the file says otherwise.

What a checkpoint was trained on is its own, sentence by sentence: `trained` names the words for which a recipe has only ours. They are
read from the checkpoint's files where those carry them (`of_checkpoint`), or come from a file of the user's, which names none `trained`;
else the ranking says that they are ours.

Source: ours; the layouts are facts of the checkpoints, from the notes that each file names.
"""

from __future__ import annotations

import hashlib
import json
import re
import string
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias

from mmrerank.errors import FormatError, InputError, UnknownName
from mmrerank.prompting.files import PromptLayout, PromptText
from mmrerank.protocols import Backend, CheckpointBackend, front_to_back
from mmrerank.text_files import parse_json, read_toml, write_text
from mmrerank.types import Markup, Message, Part, Prompt

if TYPE_CHECKING:
    from PIL.Image import Image

SHIPPED = Path(__file__).parent / "recipes"
SIDES = ("query", "document")
FILLED = frozenset({"instruction", *SIDES, *(f"{side}_{what}" for side in SIDES for what in ("pictures", "text"))})
PAIR_ROLES = re.compile(r"['\"]query['\"].*['\"]document['\"]|['\"]document['\"].*['\"]query['\"]", re.DOTALL)
STRICT = {"extra": "forbid"}  # a key that nobody reads is a mistake
Read: TypeAlias = Literal["log-odds", "expectation", "logit", "log-probability"]
_FORM = "Expected a TOML file as at the head of mmrerank/prompting/recipes.py."


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """One message of the layout."""

    __pydantic_config__: ClassVar[Any] = STRICT

    role: Literal["system", "user", "assistant", "raw", "query", "document"]
    parts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Where everything stands."""

    __pydantic_config__: ClassVar[Any] = STRICT

    turns: tuple[Turn, ...]
    order: Literal["pictures first", "texts first"] = "pictures first"  # within a side
    empty: str = ""  # the word of a side that has nothing
    own_template: bool = False  # whether the checkpoint's own template, where it takes a query and a document, writes it all


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerForm:
    """What is read at the first position of the answer."""

    __pydantic_config__: ClassVar[Any] = STRICT

    choices: tuple[str, ...]
    read: Read = "log-odds"  # first choice less second; mean of `values`; or of the one choice its logit or log-probability
    values: tuple[float, ...] = ()  # what each choice is worth, for an expectation

    def __post_init__(self) -> None:
        wanted = {"log-odds": 2, "expectation": len(self.values)}.get(self.read, 1)
        if len(self.choices) != wanted or len(set(self.choices)) != wanted or "" in self.choices or wanted == 0:
            what = f"{wanted or 'some'} different choices" + " with a value each" * (self.read == "expectation")
            raise ValueError(f"the answer is read as {self.read!r}, which takes {what}; got {list(self.choices)}")
        if self.read == "expectation" and len(set(self.values)) < 2:
            raise ValueError(f"grades have at least two different values; got {list(self.values)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the checkpoint was trained within."""

    __pydantic_config__: ClassVar[Any] = STRICT

    tokens: int | None = None  # of the whole prompt, or of the pair
    pair_alone: bool = False  # whether the limit is of query and document alone
    query_share: float = 0.75  # of the room for the two, the most that the query gets
    pictures: int | None = None  # a side; 0: it reads text only
    min_pixels: int = 1  # smaller pictures are enlarged
    max_pixels: int | None = None

    def __post_init__(self) -> None:
        numbers = [self.min_pixels, *(n for n in (self.tokens, self.max_pixels) if n is not None)]
        if min(numbers) < 1 or not 0 < self.query_share <= 1 or (self.pictures or 0) < 0:
            raise ValueError(f"limits are positive numbers; got {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Golden:
    """A pair and what the checkpoint says of it."""

    __pydantic_config__: ClassVar[Any] = STRICT

    query: str
    document: str
    instruction: str | None = None
    relevant: bool | None = None  # whether the log-odds are above 0, where no more is known
    log_odds: float | None = None  # as its makers' code computes it
    margin: float = 0.05  # how far from that still counts as the same


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How a checkpoint wants to be asked."""

    __pydantic_config__: ClassVar[Any] = STRICT

    version: str
    about: str
    layout: Layout
    answer: AnswerForm
    words: Mapping[str, str] = field(default_factory=dict)
    instructions: Mapping[str, str] = field(default_factory=dict)  # task -> its sentence
    trained: tuple[str, ...] = ()  # words and "instructions" that the checkpoint has its own of, and for which these are ours
    limits: Limits = field(default_factory=Limits)
    golden: tuple[Golden, ...] = ()
    checkpoints: tuple[str, ...] = ()  # names on the hub that it was read for
    architectures: tuple[str, ...] = ()  # of their config.json
    revision: str = ""  # of the checkpoint
    name: str = field(default="", compare=False)  # shipped name or path

    def __post_init__(self) -> None:
        fields = {name for turn in self.layout.turns for part in turn.parts for name in _placeholders(part)}
        strangers = sorted(fields - FILLED - set(self.words))
        if strangers:
            raise ValueError(f"the layout names {', '.join(strangers)}, which is none of {', '.join(sorted(FILLED | set(self.words)))}")
        missing = [side for side in SIDES if not any(name.startswith(side) for name in fields)]
        if missing:
            raise ValueError(f"the layout shows no {' and no '.join(missing)}")
        if "excluded" in self.words and _placeholders(self.words["excluded"]) != ["text"]:
            raise ValueError("the word `excluded` has the one placeholder {text}")
        if len(self.layout.turns) > 1 and any(turn.role == "raw" for turn in self.layout.turns):
            raise ValueError("a raw turn stands alone")


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """What of a query or a document goes into a prompt."""

    pictures: tuple[Image, ...] = ()
    text: str = ""


OWN_TURNS = (
    Turn(role="system", parts=("{instruction}",)),
    Turn(role="query", parts=("{query}",)),
    Turn(role="document", parts=("{document}",)),
)
"""What a template takes that writes the prompt of a query and a document by itself."""


# Files ------------------------------------------------------------------


def shipped() -> list[str]:
    """The names of the recipes that ship, sorted."""
    return sorted(file.stem for file in SHIPPED.glob("*.toml"))


def read_recipe(source: str) -> Recipe:
    """The recipe of that shipped name, or in the file of that path (ending in .toml).

    Raises:
        UnknownName: no recipe of that name ships.
        FormatError: the file is absent or no TOML, or no recipe: the message says what of it is wrong.
    """
    path = Path(source) if source.endswith(".toml") else SHIPPED / f"{source}.toml"
    if not source.endswith(".toml") and not path.is_file():
        raise UnknownName.among("recipe", source, shipped())
    return replace(recipe_from(_resolved(path), path), name=source)


def _resolved(path: Path, within: Sequence[Path] = ()) -> dict[str, Any]:
    """The table of a file over that of its base."""
    content = read_toml(path, hint=_FORM)
    base = content.pop("base", None)
    if base is None:
        return content
    if not isinstance(base, str) or len(within) > 8:
        raise FormatError(f"expected `base` as the name of a recipe, or a path, that comes to an end; got {base!r}", path=path)
    beneath = path.parent / base if base.endswith(".toml") else SHIPPED / f"{base}.toml"
    if not base.endswith(".toml") and not beneath.is_file():
        raise UnknownName.among("recipe", base, shipped())
    return _over(_resolved(beneath, (*within, path)), content)


def _over(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The base with these changes. Words that are changed are no longer ours in place of the trained ones."""
    table = _merged(base, changes)
    if "trained" not in changes:
        rewritten = {*changes.get("words", {}), *(["instructions"] if "instructions" in changes else [])}
        table["trained"] = [name for name in base.get("trained", ()) if name not in rewritten]
    return table


def _merged(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """The base with these changes, tables entry by entry."""
    table = dict(base)
    for key, value in changes.items():
        old = base.get(key)
        table[key] = _merged(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return table


def recipe_from(content: Mapping[str, Any], path: str | Path) -> Recipe:
    """The recipe that a table describes.

    Raises:
        FormatError: it describes none.
    """
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(Recipe).validate_python(dict(content))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(piece) for piece in first["loc"])
        raise FormatError(f"{place}: {first['msg']}" if place else first["msg"], path=path, hint=_FORM) from error


def write_recipe(recipe: Recipe, path: str | Path) -> None:
    """Writes the recipe as a TOML file that reads back to it."""
    import tomli_w

    write_text(path, tomli_w.dumps(_table(recipe)))


def _table(recipe: Recipe) -> dict[str, Any]:
    content: dict[str, Any] = _without_none(asdict(recipe))
    del content["name"]
    return content


def _without_none(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _without_none(entry) for key, entry in value.items() if entry is not None}
    return [_without_none(entry) for entry in value] if isinstance(value, list | tuple) else value


def prompt_text(recipe: Recipe) -> PromptText:
    """The recipe as what a result says of its prompt: what was fitted with it is refused for another."""
    content = json.dumps(_table(replace(recipe, golden=())), sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()[:16]
    return PromptText(source=recipe.name, version=recipe.version, digest=digest, pieces=dict(recipe.words))


# A checkpoint's own words ------------------------------------------------------------------


def of_checkpoint(recipe: Recipe, backend: Backend) -> Recipe:
    """The recipe with what the checkpoint behind the backend says itself.

    Where its chat template takes a query and a document, as those for sentence-transformers do, the template writes everything, and the
    words of the recipe are not used. The prompt that `config_sentence_transformers.json` names as its default is the instruction.
    """
    checkpoint = next((one for one in front_to_back(backend) if isinstance(one, CheckpointBackend)), None)
    if checkpoint is None or not recipe.layout.own_template:
        return recipe
    if PAIR_ROLES.search(checkpoint.chat_template):
        left = tuple(name for name in recipe.trained if name == "instructions")
        recipe = replace(recipe, layout=replace(recipe.layout, turns=OWN_TURNS), trained=left)
    return _with_default_prompt(recipe, checkpoint)


def _with_default_prompt(recipe: Recipe, checkpoint: CheckpointBackend) -> Recipe:
    text = checkpoint.file_text("config_sentence_transformers.json")
    settings = parse_json(text, "config_sentence_transformers.json") if text else {}
    prompts = settings.get("prompts") if isinstance(settings, dict) else None
    sentence = prompts.get(settings["default_prompt_name"]) if isinstance(prompts, dict) and "default_prompt_name" in settings else None
    if not isinstance(sentence, str) or not sentence:
        return recipe
    left = tuple(name for name in recipe.trained if name != "instructions")
    return replace(recipe, instructions={**recipe.instructions, "search": sentence}, trained=left)


def rearranged(recipe: Recipe, layout: PromptLayout) -> Recipe:
    """The recipe with the parts that show the document in front of those of the query and the instruction, or behind them.

    Raises:
        InputError: the layout is one that checkpoints were trained on, or its parts cannot be told apart.

    >>> rearranged(read_recipe("yes_no"), "question_first").layout.turns[0].parts[0]
    'Search:\\n{query}\\n\\n'
    """
    if recipe.checkpoints:
        hint = f"Leave the layout out, or write a file of your own with base = {recipe.name!r}."
        raise InputError(f"the recipe {recipe.name!r} has the layout that its checkpoints were trained on", hint=hint)
    turns = tuple(replace(turn, parts=_rearranged(turn.parts, layout)) for turn in recipe.layout.turns)
    if all(_shows(turn.parts, "query") + _shows(turn.parts, "document") < 2 for turn in turns):
        raise InputError(f"no turn of the recipe {recipe.name!r} shows both query and document, so that none can be rearranged")
    return replace(recipe, layout=replace(recipe.layout, turns=turns))


def _rearranged(parts: Sequence[str], layout: PromptLayout) -> tuple[str, ...]:
    """The parts of a turn; one that shows neither side stays where it is, before or behind both."""
    asks = [part for part in parts if _shows([part], "query", "instruction")]
    shows = [part for part in parts if _shows([part], "document")]
    if not asks or not shows or set(asks) & set(shows):
        return tuple(parts)
    places = [n for n, part in enumerate(parts) if part in asks or part in shows]
    order = iter([*shows, *asks] if layout == "candidate_first" else [*asks, *shows])
    return tuple(next(order) if n in places else part for n, part in enumerate(parts))


def _shows(parts: Sequence[str], *sides: str) -> bool:
    """Whether parts have placeholders of one of these."""
    return any(name.partition("_")[0] in sides for part in parts for name in _placeholders(part))


def in_our_words(recipe: Recipe) -> str:
    """That words of the recipe are ours where the checkpoint was trained on others; "" where it is not so."""
    if not recipe.trained:
        return ""
    names = ", ".join(recipe.trained)
    whose = f"the checkpoints of the recipe {recipe.name!r} were trained on" if recipe.checkpoints else "the model was trained on"
    return f"{names}: in our words, not in those that {whose}; put theirs into a TOML file with base = {recipe.name!r}"


# Prompts ------------------------------------------------------------------


def prompt_of(recipe: Recipe, query: Side, document: Side, instruction: str) -> Prompt:
    """What a model is asked about the two."""
    sides = {"query": query, "document": document}
    messages = []
    for turn in recipe.layout.turns:
        parts = [
            part
            for template in turn.parts
            if not _is_idle(template, sides, instruction)
            for part in _parts(template, recipe, sides, instruction)
        ]
        if parts:
            messages.append(Message(role=turn.role, parts=tuple(parts)))
    return tuple(messages)


def _is_idle(template: str, sides: Mapping[str, Side], instruction: str) -> bool:
    """Whether a part is about an instruction, or the text or the pictures of a side, that is not there."""
    contents: dict[str, Any] = {"instruction": instruction}
    for name, side in sides.items():
        contents |= {f"{name}_text": side.text, f"{name}_pictures": side.pictures}
    return any(not contents.get(name, True) for name in _placeholders(template))


def _parts(template: str, recipe: Recipe, sides: Mapping[str, Side], instruction: str) -> Iterator[Part]:
    for literal, name, _, _ in string.Formatter().parse(template):
        if literal:
            yield Markup(literal)
        if name == "instruction":
            yield instruction
        elif name and name in recipe.words:
            yield Markup(recipe.words[name])
        elif name:
            side, _, what = name.partition("_")
            yield from _side(sides[side], what, recipe.layout)


def _side(side: Side, what: str, layout: Layout) -> Iterator[Part]:
    """The parts of a side, or its pictures or its text alone."""
    texts: list[Part] = [side.text] if side.text and what != "pictures" else []
    pictures: list[Part] = list(side.pictures) if what != "text" else []
    parts = [*pictures, *texts] if layout.order == "pictures first" else [*texts, *pictures]
    yield from parts or ([Markup(layout.empty)] if layout.empty and not what else [])


def _placeholders(template: str) -> list[str]:
    """The names in braces.

    Raises:
        ValueError: the braces do not close, or a placeholder has no name.
    """
    fields = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    if not all(fields):
        raise ValueError(f"a placeholder without a name in {template!r}; double the braces that are meant as such")
    return fields
