"""Names of parts: what is printed parses back, whatever the options, the depth and the backend."""

from __future__ import annotations

import keyword

from hypothesis import given
from hypothesis import strategies as st

from mmrerank.parts import PartName, make, options_of, parse, printed, stage_of
from mmrerank.rerankers import ragllava
from mmrerank.testing.fakes import FakeBackend

WORDS = st.from_regex(r"[a-z][a-z0-9_]{0,9}", fullmatch=True).filter(lambda word: not keyword.iskeyword(word))
PLACES = st.builds(lambda path, name: f"{'.'.join(path)}:{name}", st.lists(WORDS, min_size=1, max_size=3), st.one_of(st.just(""), WORDS))
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), max_size=12)
VALUES = st.one_of(
    st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.booleans(), st.none(), TEXTS, st.tuples(TEXTS, TEXTS)
)
OPTIONS = st.dictionaries(WORDS, VALUES, max_size=3)
BACKENDS = st.sampled_from(
    [
        "mini",
        "mini(batch_size=4)",
        "local//models/judge",
        "local/Qwen/Qwen3-VL-8B",
        "chat_http/http://host:8000/v1#MODEL",
        "own.models:Judge",
    ]
)
ARGUMENTS = st.sampled_from(["ViT-B-32.laion2b_s34b_b79k@224", "local-dir:/a b/c(1)", "http://host:80/v1/rerank#MODEL", "/weights.pt"])


@given(part=st.one_of(WORDS, PLACES), options=OPTIONS, backend=st.one_of(st.none(), BACKENDS))
def test_a_name_with_options_and_backend_parses_back(part: str, options: dict[str, object], backend: str | None) -> None:
    name = PartName(part=part, options=options, backend=backend)
    assert parse(str(name)) == name


@given(part=st.one_of(WORDS, PLACES), argument=ARGUMENTS, options=OPTIONS)
def test_a_name_with_an_argument_parses_back(part: str, argument: str, options: dict[str, object]) -> None:
    name = PartName(part=part, argument=argument, options=options)
    assert parse(str(name)) == name


@given(depth=st.one_of(st.none(), st.integers(1, 10_000)), backend=st.one_of(st.none(), BACKENDS.filter(lambda name: ":J" not in name)))
def test_a_stage_parses_back(depth: int | None, backend: str | None) -> None:
    name = "ragllava(threshold=0.5)" if depth is None else f"ragllava(threshold=0.5, depth={depth})"
    stage = stage_of(name if backend is None else f"{name}/{backend}")
    assert (stage.depth, stage.backend) == (depth, backend)
    assert stage_of(str(stage)) == stage


@given(words=st.integers(1, 1000), threshold=st.floats(0, 1), depth=st.integers(1, 1000))
def test_the_printed_name_of_a_made_stage_makes_it_again(words: int, threshold: float, depth: int) -> None:
    options = ragllava.Options(caption_words=words, threshold=threshold)
    made = make(f"{printed('ragllava', options)[:-1]}, depth={depth})", station="rerankers", backend=FakeBackend())
    again = stage_of(made.name)
    assert again.depth == depth
    assert options_of(again.part, ragllava.Options) == options
    assert make(made.name, station="rerankers", backend=FakeBackend()).name == made.name
