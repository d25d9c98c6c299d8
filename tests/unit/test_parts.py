"""Names of parts: the grammar, the checks, the way back."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest

from mmrerank.cli import main
from mmrerank.errors import InputError, UnknownName
from mmrerank.parts import (
    STATIONS,
    always_named,
    check_name,
    installed,
    make,
    module,
    names,
    options_of,
    parse,
    printed,
    requires,
    runtime_option,
    stage_of,
)
from mmrerank.testing.fakes import fake_corpus


@dataclass(frozen=True, kw_only=True)
class Options:
    checkpoint: str = "default"
    neighbours: int | Literal["adaptive"] = 9
    beta: float = 0.15
    flag: bool = False
    parts: tuple[str, ...] = ()
    batch_size: int = runtime_option(32)


@pytest.mark.parametrize(
    ("name", "part", "argument", "options"),
    [
        ("dense", "dense", None, {}),
        ("Faiss-Index", "faiss_index", None, {}),
        ("openclip/ViT-B-32.laion2b_s34b_b79k@224", "openclip", "ViT-B-32.laion2b_s34b_b79k@224", {}),
        ("openclip/local-dir:/a b/c(1)", "openclip", "local-dir:/a b/c(1)", {}),
        ("x/y(a=1)", "x", "y", {"a": 1}),
        ("x(a='(', b=[1, 2], c=word, d=-0.5)", "x", None, {"a": "(", "b": [1, 2], "c": "word", "d": -0.5}),
        ("x()", "x", None, {}),
    ],
)
def test_names_are_parsed(name: str, part: str, argument: str | None, options: dict[str, object]) -> None:
    parsed = parse(name)
    assert (parsed.part, parsed.argument, dict(parsed.options)) == (part, argument, options)


@pytest.mark.parametrize(
    "name", ["", "a b", "x(a=1)(b=2)", "x(a=1)/", "x:y:z", "a.b", "x(a=1)y", "x(1)", "x(a=)", "x(a=1", "x(**a)", "x(a=open('f'))", "/x"]
)
def test_what_is_no_name_is_an_input_error(name: str) -> None:
    with pytest.raises(InputError):
        parse(name)


@pytest.mark.parametrize(
    "options",
    [Options(), Options(neighbours="adaptive", beta=1.0), Options(checkpoint="a'b", parts=("x", "y"), flag=True)],
)
def test_a_printed_name_parses_back(options: Options) -> None:
    assert options_of(printed("some", options), Options) == options
    assert options_of(printed("some", options, argument=True), Options) == options


def test_speed_options_stay_out_of_the_name() -> None:
    assert "batch_size" not in printed("some", Options(batch_size=7))


def test_an_option_that_came_later_is_in_the_name_at_its_default_too() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Later:
        checkpoint: str
        words: int = always_named(100)
        precision: str = "auto"

    assert printed("some", Later(checkpoint="x"), argument=True) == "some/x(words=100)"


def test_an_unknown_option_is_answered_with_the_real_ones() -> None:
    with pytest.raises(UnknownName, match="neighbours"):
        options_of("some(neighbors=3)", Options)


@pytest.mark.parametrize("name", ["some(neighbours=often)", "some(beta=much)", "some(flag=3)", "some(parts=3)"])
def test_a_value_of_the_wrong_type_says_which_option(name: str) -> None:
    with pytest.raises(InputError, match=name[5:].split("=")[0]):
        options_of(name, Options)


def test_an_argument_and_the_same_option_is_an_error() -> None:
    with pytest.raises(InputError, match="argument"):
        options_of("some/x(checkpoint=y)", Options)


def test_an_unknown_part_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="'dense'"):
        make("dens", station="retrievers")


def test_a_missing_resource_is_named() -> None:
    with pytest.raises(InputError, match="corpus"):
        make("dense")
    with pytest.raises(InputError, match="--encoder NAME on the command line"):
        make("superglobal", station="rerankers")


def test_names_are_unique_over_all_stations() -> None:
    everything = [name for station in STATIONS for name in names(station)]
    assert len(everything) == len(set(everything))


@pytest.mark.parametrize("name", [name for station in STATIONS for name in names(station)])
def test_every_part_has_its_three_pieces(name: str) -> None:
    part = module(name)
    assert part.__doc__
    assert callable(part.build)
    assert callable(part.tiny)
    assert part.Options.__dataclass_params__.frozen


@pytest.mark.parametrize(
    ("name", "depth", "backend", "rest"),
    [
        ("ragllava", None, None, "ragllava"),
        ("ragllava/caption", None, None, "ragllava/caption"),  # no backend: the first option, as ever
        ("ragllava/mini", None, "mini", "ragllava"),
        ("Mm-R5/local/Qwen/Qwen3-VL(batch_size=4)", None, "local/Qwen/Qwen3-VL(batch_size=4)", "mm_r5"),
        ("ragllava(task=caption, depth=100)/chat_http/http://h:1/v1#M", 100, "chat_http/http://h:1/v1#M", "ragllava(task='caption')"),
        ("square(depth=9)/mini", 9, "mini", "square(depth=9)"),  # its own option too
        ("square", None, None, "square"),
        ("bm25(depth=7, k1=2.0)", 7, None, "bm25(k1=2.0)"),
        ("rerank_http/http://h:1/v1/rerank#M(depth=7)", 7, None, "rerank_http/http://h:1/v1/rerank#M"),
        ("bm25(k1=1.0, b=0.5)", None, None, "bm25(k1=1.0, b=0.5)"),
    ],
)
def test_a_stage_says_its_depth_and_its_model(name: str, depth: int | None, backend: str | None, rest: str) -> None:
    stage = stage_of(name)
    assert (stage.depth, stage.backend, str(stage.part)) == (depth, backend, rest)
    assert stage_of(str(stage)) == stage


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("bm25(k1=1.0)/mini", "asks no model"),
        ("ragllava(depth=0)", "whole number from 1"),
        ("ragllava(depth=often)", "whole number from 1"),
        ("ragllava(depth=3)/nothing", "no backend is called 'nothing'"),
        ("ragllava(dept=3)", "option of 'ragllava'"),
        ("ragllava/minni", "question"),
    ],
)
def test_a_stage_that_cannot_be_is_refused_with_what_is_wrong(name: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_name(name, station="rerankers")


def test_a_model_that_a_name_says_need_not_be_passed() -> None:
    assert requires("ragllava", station="rerankers").needed == {"backend"}
    assert requires("ragllava(depth=3)/mini", station="rerankers").needed == frozenset()
    assert requires("square_fusion/mini", station="retrievers").needed == {"corpus"}
    part = make("square_fusion(beta=0.25)/mini", station="retrievers", corpus=fake_corpus())
    assert part.name.endswith(")/mini(precision='fp32')")


OUTSIDE = """
'''Counts words.'''
from dataclasses import dataclass
from mmrerank.types import Ranking

class Shortest:
    '''Short texts first.'''
    name = "whatever"
    def rerank(self, query, candidates):
        order = sorted(candidates, key=lambda candidate: len(candidate.item.text or ""))
        return Ranking(query_id=query.query_id, candidates=tuple(order))

class Judge(Shortest):
    def __init__(self, backend):
        self.backend = backend

@dataclass(frozen=True, kw_only=True)
class Options:
    words: int = 3

def build(options):
    part = Shortest()
    part.words = options.words
    return part

number = 3

class Frozen(Shortest):
    __slots__ = ()
    name = property(lambda self: "fixed")
"""


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "somebodys_parts.py").write_text(OUTSIDE)
    (tmp_path / "broken_parts.py").write_text("raise RuntimeError('not today')")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "somebodys_parts", raising=False)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("somebodys_parts:Shortest", "somebodys_parts:Shortest"),
        ("somebodys_parts:Shortest(depth=4)", "somebodys_parts:Shortest(depth=4)"),
        ("somebodys_parts:", "somebodys_parts:(words=3)"),
        ("somebodys_parts:(words=5, depth=2)", "somebodys_parts:(words=5, depth=2)"),
        ("somebodys_parts:Judge/mini", "somebodys_parts:Judge()/mini(precision='fp32')"),
        ("somebodys_parts:Judge(depth=3)/mini", "somebodys_parts:Judge(depth=3)/mini(precision='fp32')"),
    ],
)
@pytest.mark.usefixtures("outside")
def test_a_part_from_outside_is_made_by_its_place_and_prints_it(name: str, expected: str) -> None:
    part = make(name, station="rerankers")
    assert part.name == expected
    assert make(part.name, station="rerankers").name == expected


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("somebodys_parts:Longest", "holds nothing called 'Longest'"),
        ("somebodys_parts:number", "is no part"),
        ("somebodys_parts:Judge", "needs backend"),
        ("somebodys_parts:Frozen", "does not let its name be set"),
        ("broken_parts:", "RuntimeError: not today"),
        ("no_such_module_at_all:X", "PYTHONPATH"),
        ("somebodys_parts:(word=3)", "Did you mean 'words'"),
    ],
)
@pytest.mark.usefixtures("outside")
def test_what_is_wrong_with_a_part_from_outside_is_said(name: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        make(name, station="rerankers")
    assert message in str(error.value)


@pytest.mark.usefixtures("outside")
def test_a_package_gives_its_part_a_short_name_and_is_not_imported_to_list_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    about = tmp_path / "somebodys-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: somebodys\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text("[mmrerank.rerankers]\nshortest-first = somebodys_parts:Shortest\nbm25 = broken_parts:X\n")
    installed.cache_clear()
    try:
        assert main(["list", "rerankers", "--json"]) == 0
        listing = {part["name"]: part["summary"] for part in json.loads(capsys.readouterr().out)["rerankers"]}
        assert listing["shortest_first"] == "from somebodys: somebodys_parts:Shortest"
        assert "somebodys_parts" not in sys.modules
        assert make("shortest-first(depth=2)", station="rerankers").name == "shortest_first(depth=2)"
        assert make("bm25", station="rerankers").name.startswith("bm25("), "what ships keeps its name"
        with pytest.raises(UnknownName, match="Did you mean 'shortest_first'"):
            make("shortest_frist", station="rerankers")
    finally:
        monkeypatch.undo()
        installed.cache_clear()


def test_the_printed_name_of_a_stage_makes_it_again_without_its_station() -> None:
    stage = make("bm25(depth=2)", station="rerankers")
    assert make(stage.name).depth == stage.depth == 2


def test_a_file_without_quotes_is_told_to_need_them() -> None:
    with pytest.raises(InputError, match=r"bm25\.toml needs quotes"):
        make("calibrated(rerank=bm25, calibration=bm25.toml)", station="rerankers")


@pytest.mark.parametrize(
    ("source", "name", "words"),
    [
        ("import sys; sys.exit(3)", "Part", "cannot be imported: SystemExit: 3"),
        ("class Part:\n    def __init__(self): raise RuntimeError('no luck')", "Part", "cannot be made: RuntimeError: no luck"),
    ],
)
def test_what_a_part_from_outside_raises_is_an_error_of_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, name: str, words: str
) -> None:
    module = f"outside_{abs(hash(source))}"
    (tmp_path / f"{module}.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=words):
        make(f"{module}:{name}", station="rerankers")
