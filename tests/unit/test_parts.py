"""Names of parts: the grammar, the checks, the way back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest

from mmrerank.errors import InputError, UnknownName
from mmrerank.parts import STATIONS, always_named, make, module, names, options_of, parse, printed, runtime_option


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


@pytest.mark.parametrize("name", ["", "a b", "x(1)", "x(a=)", "x(a=1", "x(**a)", "x(a=open('f'))", "/x"])
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
