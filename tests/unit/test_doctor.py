"""The doctor's checks: a model that sees colours passes, one that does not is told apart, recorded values are compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from makers import InMemory
from PIL import Image

from mmrerank.doctor import COLOURS, compare, examine, examine_rerankers, golden_pairs, read_recorded
from mmrerank.errors import BackendError, FormatError
from mmrerank.parts import make, stage_of
from mmrerank.pipeline import NamedReranker
from mmrerank.testing.fakes import FakeBackend
from mmrerank.types import Candidate, Item, Prompt, Query, Ranking

BY_PIXEL = {Image.new("RGB", (1, 1), value).getpixel((0, 0)): name for name, value in COLOURS.items()}


def colours_shown(prompt: Prompt) -> list[str]:
    pictures = [part for part in prompt[-1].parts if not isinstance(part, str)]
    return [BY_PIXEL[picture.getpixel((picture.width // 2, picture.height // 2))] for picture in pictures]


def sees(prompt: Prompt, choices: Sequence[str]) -> list[float]:
    text = "".join(part for part in prompt[-1].parts if isinstance(part, str))
    return [-0.1, -2.3] if f"a {colours_shown(prompt)[-1]} square" in text else [-2.3, -0.1]


def orders(prompt: Prompt) -> str:
    if prompt[0].role == "system":
        return "<think>Image 2 is green.</think><answer>[2, 1, 3]</answer>"
    return 'The green one is second. {"ranking": [2, 1, 3]}'


def levels(backend: FakeBackend, **more: object) -> dict[str, str]:
    return {finding.name: finding.level for finding in examine(backend, **more)}  # type: ignore[arg-type]


def test_a_model_that_sees_colours_and_follows_instructions_passes() -> None:
    found = levels(FakeBackend(answer=orders, choose=sees))
    assert found.pop("single tokens") == "note"
    assert found == dict.fromkeys(["answers", "pictures", "yes or no", "neighbours", "mm_r5", "ragllava", "square"], "ok")


def test_a_model_that_always_says_yes_is_told_apart_and_the_rest_is_still_checked() -> None:
    findings = list(examine(FakeBackend(answer=lambda prompt: "no idea", choose=lambda prompt, choices: [-0.1, -2.3])))
    by_name = {finding.name: finding for finding in findings}
    assert {name for name, finding in by_name.items() if finding.level == "wrong"} == {"yes or no", "mm_r5", "square"}
    assert "0 of 4" in by_name["yes or no"].detail
    assert all(finding.mend for finding in findings if finding.level == "wrong")


def test_a_backend_that_fails_is_a_finding_and_not_the_end() -> None:
    def fails(prompt: Prompt, choices: Sequence[str]) -> list[float]:
        raise BackendError("no logprobs here", hint="Start the server with them.")

    found = {finding.name: finding for finding in examine(FakeBackend(answer=orders, choose=fails))}
    assert (found["yes or no"].level, found["yes or no"].mend) == ("wrong", "Start the server with them.")
    assert found["mm_r5"].level == "ok"


def test_words_of_several_tokens_are_named() -> None:
    class Tokens(FakeBackend):
        def single_token(self, choice: str) -> bool:
            return choice != "No" and not choice.isdigit()

    finding = next(iter(examine(Tokens(answer=orders, choose=sees))))
    assert (finding.level, finding.detail.split(" (")[0]) == ("wrong", "more than one token: No")


def test_recorded_values_are_compared_and_a_file_without_any_is_refused(tmp_path: Path) -> None:
    golden = golden_pairs(FakeBackend(choose=sees))
    assert golden["red called red"] == pytest.approx(0.900250, abs=1e-5)
    assert compare(golden, golden).level == "ok"
    assert compare(golden, {name: value - 0.1 for name, value in golden.items()}).level == "wrong"
    assert compare(golden, {"other": 0.5}).level == "wrong"
    file = tmp_path / "golden.json"
    file.write_text(json.dumps({"golden": golden}))
    assert read_recorded(file) == golden
    file.write_text("{}")
    with pytest.raises(FormatError, match="no recorded values"):
        read_recorded(file)


def test_the_doctor_asks_in_the_words_in_which_values_were_recorded_before_it_had_its_own() -> None:
    backend = FakeBackend(choose=sees)
    golden_pairs(backend)
    asked = make("ragllava(task='caption')", station="rerankers", backend=backend)
    picture = InMemory(backend.prompts[1][0].parts[0])
    ours = asked.prompt_for(Query(text="a green square"), Candidate(item=Item(item_id="red", image=picture)))
    assert [part for part in ours[0].parts if isinstance(part, str)] == [
        part for part in backend.prompts[1][0].parts if isinstance(part, str)
    ]
    assert len(ours) == len(backend.prompts[1]) == 1


def test_a_reranker_of_somebody_elses_that_breaks_its_promise_is_told() -> None:
    class Loses:
        name = "loses"

        def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
            return Ranking(query_id=query.query_id, candidates=tuple(candidates[1:]))

    class Named(NamedReranker):
        def made(self, **resources: object) -> Loses:  # type: ignore[override]
            return Loses()

    findings = list(examine_rerankers([Named(stage=stage_of("bm25")), NamedReranker.of("ragllava")]))
    assert [(finding.name, finding.level) for finding in findings] == [("bm25", "wrong"), ("ragllava", "note")]
    assert "no permutation" in findings[0].detail


def refuses(prompt: Prompt) -> str:
    raise BackendError("the server cannot be reached", retryable=True, hint="Is the server running?")


def test_a_server_that_is_down_is_told_once_and_no_model_is_blamed() -> None:
    """Each reranker once waited for a server that was down, and the advice was to take another model."""
    backend = FakeBackend(answer=refuses, choose=sees)
    findings = {finding.name: finding for finding in examine(backend)}
    assert [name for name, finding in findings.items() if finding.level == "wrong"] == ["answers"]
    assert findings["answers"].mend == "Is the server running?"
    assert "gives no answers" in findings["rerankers"].detail
    (finding,) = examine_rerankers([NamedReranker.of("mm_r5")], backend)
    assert (finding.level, finding.mend) == ("wrong", "Is the server running?")


def test_a_model_that_takes_no_pictures_is_told_so_and_tried_with_texts() -> None:
    def reads(prompt: Prompt) -> str:
        if any(not isinstance(part, str) for message in prompt for part in message.parts):
            raise BackendError("400: this is no multimodal model")
        return "<think>the second</think><answer>[2, 1, 3]</answer>"

    findings = {finding.name: finding for finding in examine(FakeBackend(answer=reads, choose=sees))}
    assert findings["pictures"].level == "wrong"
    assert "a model that sees pictures" in findings["pictures"].mend
    assert "yes or no" not in findings
    assert findings["square"].level == "note"
    assert findings["mm_r5"].detail.startswith("answer read")
    assert "takes none" in findings["square"].detail


def test_a_part_of_somebody_elses_that_raises_anything_does_not_end_the_other_checks() -> None:
    class Raises:
        name = "raises"

        def rerank(self, query: Query, candidates: Sequence[Candidate]) -> Ranking:
            raise KeyError("page")

    class Named(NamedReranker):
        def made(self, **resources: object) -> Raises:  # type: ignore[override]
            return Raises()

    findings = list(examine_rerankers([Named(stage=stage_of("bm25")), NamedReranker.of("bm25")]))
    assert [finding.level for finding in findings] == ["wrong", "ok"]
    assert findings[0].detail == "raises KeyError: 'page'"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "the folder is empty"),
        ('{"model_type": "llama"}', "no checkpoint can be loaded"),
        ('{"model_type": "clip"}', "answers no questions"),
        ("{", "not a valid JSON"),
    ],
)
def test_a_folder_that_is_no_vision_language_checkpoint_is_told_as_what_it_is(tmp_path: Path, config: str | None, message: str) -> None:
    """A list of a hundred classes of a library once stood there."""
    if config is not None:
        (tmp_path / "config.json").write_text(config, encoding="utf-8")
    with pytest.raises(FormatError, match=message) as caught:
        make(f"local/{tmp_path}", station="backends")
    assert "BlipConfig" not in str(caught.value)
