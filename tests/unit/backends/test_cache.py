"""The cache in front of a backend: what is the same question, what is not, several processes, damage."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from makers import coloured

from mmrerank.backends._cache import CachedBackend
from mmrerank.backends._keys import choices_key, generation_key
from mmrerank.protocols import EmbeddingBackend, front_to_back
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Decoding, Markup, Message, Prompt


def question(text: str = "what?", colour: int = 1) -> Prompt:
    return (Message(role="user", parts=(text, coloured(colour))),)


def test_an_answer_is_asked_for_once_and_costs_nothing_again(tmp_path: Path) -> None:
    double = FakeBackend()
    first = CachedBackend(double, tmp_path).generate([question("a"), question("b"), question("a")])
    assert len(double.prompts) == 2
    assert first[0].text == first[2].text != first[1].text
    assert [answer.cost.calls for answer in first] == [1, 1, 0]
    again = CachedBackend(double, tmp_path).generate([question("b"), question("c")])
    assert len(double.prompts) == 3
    assert (again[0].text, again[0].cost.calls, again[0].cost.cached) == (first[1].text, 0, 1)


def test_choices_are_kept_and_only_new_prompts_go_on(tmp_path: Path) -> None:
    double = FakeBackend()
    cached = CachedBackend(double, tmp_path)
    first = cached.choice_logprobs([question("a"), question("b")], ["Yes", "No"])
    second = cached.choice_logprobs([question("c"), question("b"), question("a")], ["Yes", "No"])
    assert np.array_equal(second.logprobs[1:], first.logprobs[::-1])
    assert (second.cost.calls, second.cost.cached, len(double.prompts)) == (1, 2, 3)
    assert second.logprobs.dtype == np.float32
    assert cached.choice_logprobs([], ["Yes"]).logprobs.shape == (0, 1)


def test_impossible_choices_survive(tmp_path: Path) -> None:
    double = FakeBackend(choose=lambda prompt, choices: [-0.1, -np.inf])
    for _ in range(2):
        assert np.isneginf(CachedBackend(double, tmp_path).choice_logprobs([question()], ["Yes", "No"]).logprobs[0, 1])
    assert len(double.prompts) == 1


def test_another_model_or_other_weights_are_asked_themselves(tmp_path: Path) -> None:
    CachedBackend(FakeBackend(), tmp_path).generate([question()])
    other, retrained = FakeBackend(), FakeBackend()
    other.name = "other"
    retrained.weights_hash = "f00d"  # type: ignore[attr-defined]
    for double in (other, retrained):
        CachedBackend(double, tmp_path).generate([question()])
        assert len(double.prompts) == 1


@given(
    st.fixed_dictionaries({"text": st.text(max_size=4), "colour": st.integers(0, 3)}),
    st.fixed_dictionaries({"text": st.text(max_size=4), "colour": st.integers(0, 3)}),
    st.builds(Decoding, max_tokens=st.integers(1, 3), temperature=st.sampled_from([0.0, 1.0]), seed=st.integers(0, 2)),
    st.builds(Decoding, max_tokens=st.integers(1, 3), temperature=st.sampled_from([0.0, 1.0]), seed=st.integers(0, 2)),
)
def test_keys_are_equal_when_and_only_when_the_question_is(one: dict, two: dict, first: Decoding, second: Decoding) -> None:  # type: ignore[type-arg]
    same = (one, first) == (two, second)
    assert (generation_key(question(**one), first) == generation_key(question(**two), second)) == same


def test_roles_order_of_parts_sizes_stops_and_choices_are_in_the_key() -> None:
    picture = coloured(1)
    prompts: list[Prompt] = [
        (Message(role="user", parts=("a", picture)),),
        (Message(role="user", parts=(picture, "a")),),
        (Message(role="system", parts=("a", picture)),),
        (Message(role="user", parts=("a",)), Message(role="user", parts=(picture,))),
        (Message(role="user", parts=("a", coloured(1, size=(16, 24)))),),
    ]
    assert len({generation_key(prompt, Decoding()) for prompt in prompts}) == len(prompts)
    decodings = [Decoding(), *(dataclasses.replace(Decoding(), **change) for change in ({"stop": ("x",)}, {"logprobs": True}))]
    assert len({generation_key(prompts[0], decoding) for decoding in decodings}) == 3
    assert choices_key(prompts[0], ["Yes", "No"]) != choices_key(prompts[0], ["No", "Yes"])


def test_a_damaged_cache_is_a_miss_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    double = FakeBackend()
    cached = CachedBackend(double, tmp_path)
    cached.generate([question()])
    cached._cache._sql("UPDATE Cache SET value = x'00ff00ff'")
    with caplog.at_level(logging.WARNING):
        assert cached.generate([question()])[0].cost.calls == 1
    assert "cannot be read" in caplog.text


def test_an_answer_of_another_shape_is_a_miss(tmp_path: Path) -> None:
    cached = CachedBackend(FakeBackend(), tmp_path)
    cached._cache.set(f"{cached._of_model}:{generation_key(question(), Decoding())}", {"text": "x"})
    cached._cache.set(f"{cached._of_model}:{choices_key(question(), ['Yes', 'No'])}", [-1.0])
    assert cached.generate([question()])[0].cost.calls == 1
    assert cached.choice_logprobs([question()], ["Yes", "No"]).cost.calls == 1
    assert CachedBackend(FakeBackend(), tmp_path).generate([question()])[0].cost.cached == 1


def overwritten(folder: Path) -> None:
    for file in folder.glob("cache.db*"):
        file.unlink()
    (folder / "cache.db").write_bytes(b"this is no database " * 500)


def cut_short(folder: Path) -> None:
    for file in folder.glob("cache.db-*"):
        file.unlink()
    (folder / "cache.db").write_bytes((folder / "cache.db").read_bytes()[:5000])


def a_file(folder: Path) -> None:
    shutil.rmtree(folder)
    folder.write_text("in the way")


@pytest.mark.parametrize("damage", [overwritten, cut_short, a_file])
def test_a_folder_that_cannot_be_used_costs_the_cache_and_not_the_answer(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    first = CachedBackend(FakeBackend(), tmp_path / "cache")
    answer = first.generate([question()])[0].text
    first._cache.close()
    damage(tmp_path / "cache")
    with caplog.at_level(logging.WARNING):
        again = CachedBackend(FakeBackend(), tmp_path / "cache")
    assert "not cached" in caplog.text
    assert (again.generate([question()])[0].text, again.generate([question()])[0].cost.calls) == (answer, 1)


WRITER = """
import sys
from pathlib import Path
from mmrerank.backends._cache import CachedBackend
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Message
cached = CachedBackend(FakeBackend(), Path(sys.argv[1]))
for n in range(40):
    cached.generate([(Message(role="user", parts=(f"question {n}",)),)])
"""


def test_several_processes_share_it(tmp_path: Path) -> None:
    running = [subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)], stderr=subprocess.PIPE) for _ in range(3)]
    for process in running:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
    double = FakeBackend()
    answers = CachedBackend(double, tmp_path).generate([(Message(role="user", parts=(f"question {n}",)),) for n in range(40)])
    assert double.prompts == []
    assert len({answer.text for answer in answers}) == 40


def test_tokens_and_lengths_are_kept(tmp_path: Path) -> None:
    double = FakeBackend(answer=lambda prompt: "one two")
    shows = Decoding(logprobs=True)
    first, again = (CachedBackend(double, tmp_path).generate([question()], shows)[0] for _ in range(2))
    assert first.tokens == again.tokens == ("one", " two")
    assert first.logprobs == again.logprobs
    lengths = [CachedBackend(double, tmp_path).choice_logprobs([question()], ["Yes", "not at all"]).lengths for _ in range(2)]
    assert lengths == [(1, 3), (1, 3)]
    assert len(double.prompts) == 2


def test_markup_is_another_question_than_a_text_of_the_same_letters() -> None:
    texts = [(Message(role="user", parts=(kind("<|x|>"),)),) for kind in (str, Markup)]
    assert generation_key(texts[0], Decoding()) != generation_key(texts[1], Decoding())
    roles = [(*question(), Message(role="assistant", parts=(begun,))) for begun in ("", "[")]
    assert choices_key(roles[0], ["1"]) != choices_key(roles[1], ["1"])


def test_what_the_cache_does_not_offer_itself_the_model_behind_it_does(tmp_path: Path) -> None:
    cached = CachedBackend(FakeBackend(), tmp_path)
    states = next(one for one in front_to_back(cached) if isinstance(one, EmbeddingBackend))
    assert states.embed([question()]).shape == (1, 8)
