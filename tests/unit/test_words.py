"""The words of the code: the field's terms, and names that say what a value is, not what was done to it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# What was done to a value is no name for it: a name says what the value is where it stands (hits, rows, query, answer, ids).
TENSES = frozenset({"found", "given", "asked", "said", "held", "kept", "told", "shown"})

# Words that cost readers time, and the word of the field for each.
OLD_WORDS = {
    "abilities": "capabilities",
    "remarks": "notes",
    "View": "CollectionVersion",
    "ItemView": "ItemReader",
    "Space": "EmbeddingSpace",
    "caches": "text_index, row_index",
    "settled": "read_consistent",
    "exchange": "json_io",
    "checkup": "doctor",
    "relevance": "to_unit_scale",
    "rarity": "idf",
    "pair_share": "roc_auc",
    "crossing": "equal_error_threshold",
    "worn": "needs_rebuild",
    "knob": "runtime_option",
    "always": "always_named",
    "several": "as_tuple",
    "Doors": "AdmissionMiddleware",
    "Shelf": "OpenCollections",
    "Patience": "RetryPolicy",
    "Refused": "RequestRefused",
    "misled": "with_slips",
    "psg": "item",
    "gnd": "qrels",
    "emb": "descriptor",
    "reps": "descriptors",
    "ranker": "reranker",
    "scorer": "pointwise",
    "topn": "cutoff",
}

# Files that had such a name: the word of the field is the file's name now.
OLD_FILES = frozenset({"_remarks", "_known", "_flow", "_double", "_chat_double", "caches", "checkup", "exchange"})

ROOMS = ("mmrerank", "tools", "demos")

# (file, name) that stays all the same, and why.
EXCEPTIONS = {
    ("mmrerank/service/schemas.py", "found"): "AskResponse.found: as Answer.found, in the JSON of the service",
    ("mmrerank/ingest/run.py", "found"): "IngestReport.found: in the JSON of `index`",
    ("mmrerank/answering/extractive.py", "NOT_FOUND"): "what is answered where nothing was found; the name is the field's",
    ("mmrerank/types.py", "found"): "Answer.found: whether the documents hold the answer; users read it, and the JSON of `ask` has it",
}


def names_of(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every name that the source gives to something, and its line: variables, parameters, attributes, functions, classes."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.id if isinstance(node, ast.Name) else node.attr, node.lineno
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and node.name:
            yield node.name, node.lineno
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield from ((alias.asname, node.lineno) for alias in node.names if alias.asname)


def words_of(name: str) -> set[str]:
    """The words of a name in small letters.

    >>> sorted(words_of("_docsGiven_up"))
    ['docs', 'given', 'up']
    """
    return {word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+", name)}


def problem(name: str) -> str:
    """What is wrong with a name; empty where nothing is."""
    if tenses := words_of(name) & TENSES:
        return f"{name!r} says what was done ({', '.join(sorted(tenses))}): name what the value is"
    word = OLD_WORDS.get(name.strip("_"))
    return f"{name!r} is called {word!r} here" if word else ""


def problems(source: str, file: str) -> dict[str, str]:
    """Name -> what is wrong with it and where it stands first, of all names of a file and its own."""
    names = [(Path(file).stem, 1), *names_of(ast.parse(source))]
    return {name: f"{file}:{line}: {why}" for name, line in reversed(names) if (why := problem(name))}


def files_of(room: str) -> list[Path]:
    place = ROOT / room
    return [place] if place.is_file() else sorted(place.rglob("*.py"))


@pytest.mark.parametrize("room", ROOMS)
def test_names_say_what_a_value_is_in_the_words_of_the_field(room: str) -> None:
    assert files_of(room), f"{room} is no room"
    rest = [
        message
        for path in files_of(room)
        for name, message in problems(path.read_text(encoding="utf-8"), path.relative_to(ROOT).as_posix()).items()
        if (path.relative_to(ROOT).as_posix(), name) not in EXCEPTIONS
    ]
    assert not rest, "\n".join(rest)


def test_no_file_has_an_old_name() -> None:
    files = [*files_of("mmrerank"), *files_of("tools")]
    assert len(files) > 200
    assert not [path for path in files if path.stem in OLD_FILES]


@pytest.mark.parametrize(("file", "name"), EXCEPTIONS, ids=lambda part: str(part))
def test_an_exception_stands_in_a_finished_room_and_is_still_needed(file: str, name: str) -> None:
    assert any(file == room or file.startswith(f"{room}/") for room in ROOMS), f"{file} is in none of the rooms"
    assert name in problems((ROOT / file).read_text(encoding="utf-8"), file)


SOURCE = """
import numpy as given
class HeldPicture:
    kept: int
    def _told(self, asked, *, rows):
        self.shown_px = asked
        for found in rows:
            said = [scorer for scorer in found if not scorer.given]
        print(f"{found=}", said, finding := 1, foundation := 2)
"""


def test_every_kind_of_name_is_seen() -> None:
    names = {"given", "HeldPicture", "kept", "_told", "asked", "shown_px", "found", "said", "scorer"}
    assert set(problems(SOURCE, "a.py")) == names
    assert set(problems("", "mmrerank/integrations/_given.py")) == {"_given"}
    assert problems(SOURCE, "a.py")["scorer"] == "a.py:8: 'scorer' is called 'pointwise' here"
