"""The doctor's checks: a model that sees colours passes, one that does not is told apart, recorded values are compared."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from makers import InMemory
from PIL import Image

from mmrerank.doctor import (
    COLOURS,
    compare,
    examine,
    examine_checkpoint,
    examine_encoders,
    examine_rerankers,
    golden_pairs,
    raw_scores,
    read_raw_scores,
    read_recorded,
)
from mmrerank.doctor.pairs import text_cases
from mmrerank.doctor.rerankers import Apart, compared
from mmrerank.errors import BackendError, FormatError
from mmrerank.parts import make, stage_of
from mmrerank.pipeline import NamedReranker
from mmrerank.testing.fakes import FakeBackend, HashEncoder
from mmrerank.types import Array, Candidate, Item, Modality, Prompt, Query, Ranking

BY_PIXEL = {Image.new("RGB", (1, 1), value).getpixel((0, 0)): name for name, value in COLOURS.items()}


def colours_shown(prompt: Prompt) -> list[str]:
    pictures = [part for message in prompt for part in message.parts if not isinstance(part, str)]
    return [BY_PIXEL[picture.getpixel((picture.width // 2, picture.height // 2))] for picture in pictures]


def text_of(prompt: Prompt) -> str:
    return "".join(part for message in prompt for part in message.parts if isinstance(part, str))


def fits(prompt: Prompt, choices: Sequence[str]) -> bool:
    """Whether what a prompt shows is what it asks for, or what the one choice says."""
    colours, words = colours_shown(prompt), text_of(prompt) + ("" if len(choices) > 1 else choices[0])
    if len(colours) > 1:
        return colours[0] == colours[-1]
    if colours:
        return f"{colours[0]} square" in words
    return words.count("green square") > 1 or any(str(case.right.text) in words and str(case.query.text) in words for case in text_cases())


def sees(prompt: Prompt, choices: Sequence[str]) -> list[float]:
    right = fits(prompt, choices)
    return [-0.1 if right == (n == 0) else -2.3 for n in range(len(choices))]


def orders(prompt: Prompt) -> str:
    if prompt[0].role == "system":
        return "<think>Image 2 is green.</think><answer>[2, 1, 3]</answer>"
    return 'The green one is second. {"ranking": [2, 1, 3]}'


def levels(backend: FakeBackend, **more: object) -> dict[str, str]:
    return {finding.name: finding.level for finding in examine(backend, **more)}  # type: ignore[arg-type]


def test_a_model_that_sees_colours_and_follows_instructions_passes() -> None:
    found = levels(FakeBackend(answer=orders, choose=sees))
    ok = ["answers", "pictures", "yes or no", "neighbours", "yes or no to texts", "mm_r5", "ragllava", "square", "query_likelihood"]
    assert {name: found[name] for name in ok} == dict.fromkeys(ok, "ok")
    assert found["single tokens"] == "note"


def test_a_model_that_always_says_yes_is_told_apart_and_the_rest_is_still_checked() -> None:
    says_yes = FakeBackend(answer=lambda prompt: "no idea", choose=lambda prompt, choices: [-0.1, -2.3, -3.0, -4.0][: len(choices)])
    findings = list(examine(says_yes))
    by_name = {finding.name: finding for finding in findings}
    assert {"yes or no", "mm_r5", "square"} <= {name for name, finding in by_name.items() if finding.level == "wrong"}
    assert (by_name["ragllava"].level, by_name["yes or no to texts"].level) == ("ok", "note")
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
    assert [finding.level for finding in findings][:2] == ["wrong", "ok"]
    assert findings[0].detail == "raises KeyError: 'page'"


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (None, "the folder is empty"),
        ('{"model_type": "llama"}', "no text-only language model can be loaded"),
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


# Right from wrong ------------------------------------------------------------------


def findings_of(name: str, backend: FakeBackend, **more: object) -> dict[str, tuple[str, str]]:
    found = examine_rerankers([NamedReranker.of(name)], backend, **more)  # type: ignore[arg-type]
    return {finding.name: (finding.level, finding.detail) for finding in found}


def test_a_judge_that_tells_right_from_wrong_separates_texts_and_pictures_without_judged_data() -> None:
    findings = findings_of("ragllava(task=caption)", FakeBackend(choose=sees))
    level, detail = findings["ragllava(task='caption'), pictures apart"]
    assert (level, detail.split(",")[0]) == ("ok", "clean separation")
    for name in ("judge", "judge(depth=3)"):  # a stage of a cascade too
        assert findings_of(name, FakeBackend(choose=sees))[f"{name}, texts apart"][0] == "ok"


def test_a_judge_by_noise_has_no_clean_separation_and_one_that_is_the_wrong_way_round_is_wrong() -> None:
    level, detail = findings_of("judge", FakeBackend())["judge, texts apart"]
    assert level in ("note", "wrong")
    assert detail.startswith("no clean separation")
    turned = FakeBackend(choose=lambda prompt, choices: sees(prompt, choices)[::-1])
    level, detail = findings_of("judge", turned)["judge, texts apart"]
    assert (level, "in 0 of 6 pairs, area under the curve 0.00" in detail) == ("wrong", True)


def test_order_without_a_threshold_is_a_note() -> None:
    """A likelihood is higher for what answers, and of another height for each question."""

    def likely(prompt: Prompt, choices: Sequence[str]) -> list[float]:
        return [-float(len(choices[0])) + (0.5 if fits(prompt, choices) else 0.0)]

    level, detail = findings_of("query_likelihood", FakeBackend(choose=likely))["query_likelihood, texts apart"]
    assert level == "note"
    assert "right above wrong in 6 of 6 pairs" in detail


def test_the_area_counts_ties_half_and_the_gap_is_that_of_one_threshold() -> None:
    apart = Apart(right=(3.0, 1.0), wrong=(1.0, 0.0))
    assert (apart.area, apart.gap, apart.in_order) == (0.875, 0.0, 2)


RECIPE = """
base = "yes_no"
about = "a recipe with pairs"
architectures = ["Qwen3ForCausalLM"]

[[golden]]
query = "how do bees make honey"
document = "nectar"
log_odds = 2.2
margin = 0.01

[[golden]]
query = "how do bees make honey"
document = "a ferry"
relevant = false
"""


def of_nectar(prompt: Prompt, choices: Sequence[str]) -> list[float]:
    return [-0.1, -2.3] if "nectar" in text_of(prompt) else [-3.0, -1.0]


def test_golden_pairs_of_a_recipe_pass_with_its_checkpoint_and_fail_with_another(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    name = f"judge(recipe='{recipe}')"
    assert findings_of(name, FakeBackend(choose=of_nectar))[f"{name}, golden pairs"][0] == "ok"
    level, detail = findings_of(name, FakeBackend(choose=lambda prompt, choices: [-1.0, -2.0]))[f"{name}, golden pairs"]
    assert level == "wrong"
    assert "gives +1.000; +2.200 within 0.01 is expected" in detail
    assert "which should be below 0" in detail


def test_a_recipe_of_another_class_than_the_checkpoint_is_wrong(tmp_path: Path) -> None:
    class OfFolder(FakeBackend):
        chat_template = ""
        takes = frozenset({"text"})

        def file_text(self, name: str) -> str | None:
            return '{"architectures": ["LlamaForCausalLM"]}' if name == "config.json" else None

    recipe = tmp_path / "mine.toml"
    recipe.write_text(RECIPE, encoding="utf-8")
    name = f"judge(recipe='{recipe}')"
    level, detail = findings_of(name, OfFolder(choose=of_nectar))[f"{name}, recipe"]
    assert (level, "made for Qwen3ForCausalLM; this checkpoint is LlamaForCausalLM" in detail) == ("wrong", True)
    assert f"{name}, recipe" not in findings_of(name, FakeBackend(choose=of_nectar))  # a served one shows no files


def test_raw_scores_are_recorded_and_compared_across_backends(tmp_path: Path) -> None:
    reranker = NamedReranker.of("judge")
    scores = raw_scores(reranker, FakeBackend(choose=sees))
    assert len(scores) == 2 * len(text_cases())
    assert compared("judge", scores, scores).level == "ok"
    file = tmp_path / "values.json"
    file.write_text(json.dumps({"golden": {}, "rerankers": {"judge": scores}}))
    recorded = read_raw_scores(file)
    assert recorded == {"judge": scores}
    other = findings_of("judge", FakeBackend(choose=lambda prompt, choices: [-1.0, -2.0]), recorded=recorded)
    assert other["judge, recorded values"][0] == "wrong"
    file.write_text(json.dumps({"rerankers": [1]}))
    with pytest.raises(FormatError, match="raw score"):
        read_raw_scores(file)


# Vectors ------------------------------------------------------------------


class WordsEncoder:
    """Rows that count letters in pairs: texts that share words are near."""

    name, dimension = "words", 64
    takes: frozenset[Modality] = frozenset({"text"})
    reads: Modality = "text"

    def __init__(self, name: str = "words", scale: float = 1.0, shift: int = 0) -> None:
        self.name, self._scale, self._shift = name, scale, shift

    def prepare(self, value: str) -> str:
        return value

    def encode(self, values: Sequence[str], *, normalise: bool = True) -> Array:
        rows = np.zeros((len(values), self.dimension), np.float32)
        for n, value in enumerate(values):
            for word in value.lower().replace(",", "").split():
                rows[n, (sum(map(ord, word)) + self._shift * len(word)) % self.dimension] += len(word) > 3
        return rows / np.linalg.norm(rows, axis=1, keepdims=True) * self._scale  # type: ignore[no-any-return]


def test_the_same_vectors_served_and_local_pass_and_others_are_told_apart() -> None:
    same = {finding.name: finding for finding in examine_encoders([WordsEncoder(), WordsEncoder("served")])}
    assert (same["words"].level, same["words beside served"].level) == ("ok", "ok")
    other = {finding.name: finding for finding in examine_encoders([WordsEncoder(), WordsEncoder("served", shift=1)])}
    assert other["words beside served"].level == "wrong"
    assert "0.999 is expected" in other["words beside served"].detail
    (*_, width) = examine_encoders([WordsEncoder(), HashEncoder()])
    assert (width.level, "64 numbers a row and 8" in width.detail) == ("wrong", True)


def test_rows_that_are_no_unit_rows_are_wrong_and_noise_is_not_near_what_answers() -> None:
    (sound, *_) = examine_encoders([WordsEncoder(scale=2.0)])
    assert (sound.level, "lengths 2.000 to 2.000" in sound.detail) == ("wrong", True)
    levels = {finding.name: finding.level for finding in examine_encoders([WordsEncoder()])}
    assert levels["words, texts apart"] in ("ok", "note")
    noise = {finding.name: finding.detail for finding in examine_encoders([HashEncoder()])}
    assert "of 6" in noise["hash, texts apart"]


# Checkpoints ------------------------------------------------------------------


def test_a_checkpoint_is_told_by_its_files_with_the_parts_and_recipes_of_its_class(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "qwen3", "architectures": ["Qwen3ForCausalLM"]}))
    findings = list(examine_checkpoint(tmp_path))
    assert findings[0].detail == "Qwen3ForCausalLM, without a chat template"
    assert any(f.name == "fits" and f.detail.startswith(f"local/{tmp_path}: Qwen3ForCausalLM") for f in findings)
    assert any(f.name == "recipes" and "qwen3_reranker" in f.detail for f in findings)


def test_a_checkpoint_that_no_part_reads_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "vit", "architectures": ["ViTModel"]}))
    assert [(f.name, f.level) for f in examine_checkpoint(tmp_path)] == [("checkpoint", "ok"), ("fits", "wrong")]
    assert [f.level for f in examine_checkpoint(tmp_path / "absent")] == ["wrong"]
