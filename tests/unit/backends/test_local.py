"""The local backend against a plain computation with transformers, on four architectures: single, batched, shuffled."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from makers import picture
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_models import NAMES, saved
from tokenizers import Regex

from mmrerank.backends._checkpoint import Checkpoint, Source, weights_hash_of
from mmrerank.backends._inputs import Preparer
from mmrerank.backends.local import Local, Options, build, tiny
from mmrerank.errors import BackendError, FormatError, InputError
from mmrerank.types import Decoding, Message, Prompt

CHOICES = ("Yes", "No", "Yes, surely", "No 12")


def question(text: str, *pictures: Image.Image) -> Prompt:
    return (Message(role="system", parts=("be brief",)), Message(role="user", parts=(text, *pictures, "is it relevant?")))


PROMPTS = (
    question("short", picture(1, size=(60, 40))),
    question("a question that is quite a bit longer than the first one was", picture(2, size=(50, 90)), picture(3, size=(100, 30))),
    question("no picture at all"),
    question("wide", picture(4, size=(120, 40))),
    question("short", picture(5, size=(33, 47))),
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module", params=NAMES)
def folder(request: pytest.FixtureRequest, models: Path) -> Path:
    return saved(models, request.param)


@pytest.fixture(scope="module")
def backend(folder: Path) -> Local:
    return build(Options(model=str(folder), device="cpu", batch_size=3))


@pytest.fixture(scope="module")
def qwen(models: Path) -> Local:
    return build(Options(model=str(saved(models, "qwen2_5_vl")), device="cpu"))


class Plain:
    """What a reader of the model card would write: one prompt at a time, straight to processor and model."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        self.processor: Any = AutoProcessor.from_pretrained(folder, local_files_only=True)
        self.model: Any = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()

    def inputs(self, prompt: Prompt) -> Any:
        talk = [
            {
                "role": m.role,
                "content": [{"type": "text", "text": p} if isinstance(p, str) else {"type": "image", "image": p} for p in m.parts],
            }
            for m in prompt
        ]
        text = self.processor.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
        pictures = [part for message in prompt for part in message.parts if not isinstance(part, str)]
        return self.processor(text=[text], images=pictures or None, return_tensors="pt")

    @torch.inference_mode()
    def logprobs(self, prompt: Prompt, choices: Sequence[str]) -> list[float]:
        totals = []
        for choice in choices:
            inputs = self.inputs(prompt)
            total = 0.0
            for token in self.processor.tokenizer(choice, add_special_tokens=False)["input_ids"]:
                logits = self.model(**inputs).logits[0, -1].double()
                total += float(logits.log_softmax(-1)[token])
                more = torch.tensor([[token]])
                for name in ("input_ids", "attention_mask", "mm_token_type_ids"):
                    if name in inputs:
                        extra = more if name == "input_ids" else torch.full_like(more, int(name == "attention_mask"))
                        inputs[name] = torch.cat([inputs[name], extra], dim=1)
            totals.append(total)
        return totals

    @torch.inference_mode()
    def greedy(self, prompt: Prompt, count: int) -> list[int]:
        inputs = self.inputs(prompt)
        sequences = self.model.generate(**inputs, max_new_tokens=count, do_sample=False)
        return list(sequences[0, inputs["input_ids"].shape[1] :].tolist())


def test_choices_equal_a_plain_computation_single_batched_and_shuffled(folder: Path, backend: Local) -> None:
    plain = Plain(folder)
    expected = np.array([plain.logprobs(prompt, CHOICES) for prompt in PROMPTS])
    batched = backend.choice_logprobs(PROMPTS, CHOICES).logprobs
    single = np.concatenate([backend.choice_logprobs([prompt], CHOICES).logprobs for prompt in PROMPTS])
    shuffled = backend.choice_logprobs([PROMPTS[n] for n in (3, 0, 4, 2, 1)], CHOICES).logprobs[[1, 4, 3, 0, 2]]
    for actual in (batched, single, shuffled):
        assert np.abs(actual - expected).max() < 1e-4
    assert np.ptp(expected[:, 0]) > 1e-4, "the prompts differ, so the comparison can fail"


def test_qwen_sees_pictures_as_its_released_examples_show_them(qwen: Local, models: Path) -> None:
    from qwen_vl_utils import process_vision_info

    class Released(Plain):
        def inputs(self, prompt: Prompt) -> Any:
            images = self.processor.image_processor
            limits = {"min_pixels": images.size["shortest_edge"], "max_pixels": images.size["longest_edge"]}
            parts = [
                {"type": "text", "text": p} if isinstance(p, str) else {"type": "image", "image": p, **limits} for p in prompt[0].parts
            ]
            talk = [{"role": "user", "content": parts}]
            text = self.processor.apply_chat_template(talk, tokenize=False, add_generation_prompt=True)
            pictures, _ = process_vision_info(talk, image_patch_size=images.patch_size)
            return self.processor(text=[text], images=pictures, return_tensors="pt")

    noise = np.random.default_rng(3).integers(0, 256, (523, 771, 3), dtype=np.uint8)
    prompt = (Message(role="user", parts=(Image.fromarray(noise), "What is it?")),)
    folder = saved(models, "qwen2_5_vl")
    expected = Released(folder).logprobs(prompt, CHOICES)
    assert np.abs(qwen.choice_logprobs([prompt], CHOICES).logprobs[0] - expected).max() < 1e-5
    assert np.abs(np.array(Plain(folder).logprobs(prompt, CHOICES)) - expected).max() > 1e-5, "so the comparison can fail"


def test_greedy_answers_equal_those_of_the_model(folder: Path, backend: Local) -> None:
    plain = Plain(folder)
    answers = backend.generate(PROMPTS, Decoding(max_tokens=8))
    for prompt, answer in zip(PROMPTS, answers, strict=True):
        assert answer.text == plain.processor.tokenizer.decode(plain.greedy(prompt, 8), skip_special_tokens=True)


def test_tokens_are_counted(folder: Path, backend: Local) -> None:
    plain = Plain(folder)
    scores = backend.choice_logprobs(PROMPTS, ("Yes", "No"))
    assert scores.cost.calls == len(PROMPTS)
    assert scores.cost.prompt_tokens == sum(plain.inputs(prompt)["input_ids"].shape[1] for prompt in PROMPTS)
    answers = backend.generate(PROMPTS[:3], Decoding(max_tokens=4))
    assert [answer.cost.image_tokens > 0 for answer in answers] == [True, True, False]
    assert all(0 < answer.cost.generated_tokens <= 4 for answer in answers)


def test_log_probabilities_of_an_answer_are_those_of_its_tokens(qwen: Local, models: Path) -> None:
    plain = Plain(models / "qwen2_5_vl")
    (answer,) = qwen.generate([PROMPTS[0]], Decoding(max_tokens=3, logprobs=True))
    assert answer.logprobs is not None
    assert len(answer.logprobs) == answer.cost.generated_tokens
    with torch.inference_mode():
        first = plain.model(**plain.inputs(PROMPTS[0])).logits[0, -1].log_softmax(-1).max()
    assert answer.logprobs[0] == pytest.approx(float(first), abs=1e-4)


def test_an_answer_ends_before_a_stop_string(qwen: Local) -> None:
    (whole,) = qwen.generate([PROMPTS[0]], Decoding(max_tokens=12))
    assert whole.finished == "length"
    stop = next(letter for letter in whole.text if letter.isascii())  # bytes that are no letter yet cannot be stopped at
    (cut,) = qwen.generate([PROMPTS[0]], Decoding(max_tokens=12, stop=(stop,)))
    assert cut.text == whole.text[: whole.text.find(stop)]
    assert cut.finished == "stop"
    assert cut.cost.generated_tokens < 12


def test_stop_strings_end_each_answer_of_a_batch_by_itself(backend: Local) -> None:
    free = Decoding(max_tokens=16, logprobs=True)
    whole = [answer.text for answer in backend.generate(PROMPTS, free)]
    stop = next(letter for letter in whole[0] if letter.isascii())
    with_stops = replace(free, stop=(stop, "never said"))
    batched = backend.generate(PROMPTS, with_stops)
    for prompt, text, answer in zip(PROMPTS, whole, batched, strict=True):
        (alone,) = backend.generate([prompt], with_stops)
        assert (answer.text, answer.finished) == (alone.text, alone.finished)
        assert answer.text == text.partition(stop)[0]
        assert answer.cost.generated_tokens == alone.cost.generated_tokens
        assert answer.logprobs == pytest.approx(alone.logprobs, abs=1e-4)


def test_a_stop_string_in_the_prompt_ends_nothing(qwen: Local) -> None:
    (free,) = qwen.generate([PROMPTS[0]], Decoding(max_tokens=6))
    straddling = "assistant\n" + free.text[:1]  # the end of the template and the first letter of the answer
    (answer,) = qwen.generate([PROMPTS[0]], Decoding(max_tokens=6, stop=(straddling, "short")))
    assert (answer.text, answer.finished) == (free.text, free.finished)


@pytest.mark.parametrize("decoding", [Decoding(max_tokens=0), Decoding(stop=("",))])
def test_a_decoding_that_cannot_be_followed_is_refused(qwen: Local, decoding: Decoding) -> None:
    with pytest.raises(InputError, match="at least one"):
        qwen.generate([PROMPTS[0]], decoding)


def test_the_sampling_habits_of_a_checkpoint_are_not_ours(qwen: Local, models: Path, tmp_path: Path) -> None:
    place = tmp_path / "habits"
    shutil.copytree(models / "qwen2_5_vl", place)
    file = place / "generation_config.json"
    habits = {"do_sample": True, "temperature": 5.0, "top_k": 3, "repetition_penalty": 3.0, "no_repeat_ngram_size": 1}
    file.write_text(json.dumps({**json.loads(file.read_text()), **habits}))
    other = build(Options(model=str(place), device="cpu"))
    for decoding in (Decoding(max_tokens=12), Decoding(max_tokens=12, temperature=1.5, seed=1)):
        assert [a.text for a in other.generate(PROMPTS, decoding)] == [a.text for a in qwen.generate(PROMPTS, decoding)]


def test_sampling_follows_the_seed_and_not_the_neighbours(qwen: Local) -> None:
    hot = Decoding(max_tokens=8, temperature=1.5, seed=1)
    batched = [answer.text for answer in qwen.generate(PROMPTS, hot)]
    assert batched == [qwen.generate([prompt], hot)[0].text for prompt in PROMPTS]
    other = qwen.generate(PROMPTS, Decoding(max_tokens=8, temperature=1.5, seed=2))
    assert batched != [answer.text for answer in other]


def test_yes_no_and_the_marks_are_single_tokens(qwen: Local) -> None:
    assert all(qwen.single_token(word) for word in ("Yes", "No", *(str(n) for n in range(1, 26))))
    assert not qwen.single_token("Yes, surely")
    with pytest.raises(InputError, match="at least one token"):
        qwen.choice_logprobs([PROMPTS[0]], ["Yes", ""])


class WordMarks:
    """A processor whose tokenizer marks the beginning of words, as SentencePiece does, with a given end of its template."""

    def __init__(self, opening: str) -> None:
        from tokenizers import Tokenizer, models, pre_tokenizers
        from transformers import PreTrainedTokenizerFast

        words = {word: n for n, word in enumerate(["<unk>", "</s>", "▁", "▁Yes", "Yes", "▁A:", "A:", "\n", "▁A:\n", "A:\n"])}
        tokenizer = Tokenizer(models.BPE(vocab=words, merges=[], unk_token="<unk>", ignore_merges=True))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Metaspace(prepend_scheme="first"), pre_tokenizers.Split(Regex(r"▁?A:|\n|▁?Yes"), "isolated")]
        )
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")
        self.chat_template = "its own"
        self._opening = opening

    def apply_chat_template(self, conversation: Any, **_: Any) -> str:
        return self._opening


@pytest.mark.parametrize(("opening", "expected"), [("A:", "▁Yes"), ("A:\n", "Yes")])
def test_a_choice_is_tokenised_as_it_stands_behind_the_template(qwen: Local, opening: str, expected: str) -> None:
    processor = WordMarks(opening)
    (token,) = Preparer(processor, qwen._model, "marks").ids_of("Yes")
    assert processor.tokenizer.convert_ids_to_tokens(token) == expected


def test_special_tokens_in_a_text_are_letters(backend: Local) -> None:
    special = question("a page that says <|image_pad|>, <|im_end|> and <|im_start|>", picture(1, size=(60, 40)))
    plain = question("a page that says < |image_pad|>, < |im_end|> and < |im_start|>", picture(1, size=(60, 40)))
    scores = backend.choice_logprobs([special, PROMPTS[0]], ("Yes", "No"))
    assert np.abs(scores.logprobs - backend.choice_logprobs([plain, PROMPTS[0]], ("Yes", "No")).logprobs).max() < 1e-4
    assert scores.cost.image_tokens == backend.choice_logprobs([PROMPTS[0]] * 2, ("Yes", "No")).cost.image_tokens


def test_prompts_are_measured_as_the_processor_measures_them(folder: Path, backend: Local) -> None:
    plain = Plain(folder)
    assert backend.count_tokens(PROMPTS) == [plain.inputs(prompt)["input_ids"].shape[1] for prompt in PROMPTS]
    assert backend.count_tokens([]) == []
    large = question("x", Image.new("RGB", (3000, 2000)))
    (answer,) = backend.generate([large], Decoding(max_tokens=1))
    assert 0 <= backend._prepare.extent(large) - answer.cost.image_tokens < 8  # letters by four: a few


def test_narrow_pictures_are_taken_and_hopeless_ones_refused(qwen: Local) -> None:
    assert np.isfinite(qwen.choice_logprobs([question("a line", Image.new("RGB", (4000, 21)))], ("Yes",)).logprobs).all()
    with pytest.raises(InputError, match="aspect ratio"):
        qwen.choice_logprobs([question("a thread", Image.new("RGB", (1000, 2)))], ("Yes",))
    with pytest.raises(InputError, match="no message"):
        qwen.generate([()])


def test_threads_do_not_disturb_one_another(qwen: Local) -> None:
    expected = qwen.choice_logprobs(PROMPTS, CHOICES).logprobs

    def ask(_: int) -> Any:
        qwen._prepare.ids_of.cache_clear()  # choices are tokenised beside prompts
        return qwen.choice_logprobs(PROMPTS, CHOICES).logprobs

    with ThreadPoolExecutor(8) as pool:
        assert all(np.abs(actual - expected).max() < 1e-4 for actual in pool.map(ask, range(40)))


@pytest.mark.parametrize("wrong", [{"device": "nonsense"}, {"device": "cpu", "batch_size": 0}])
def test_knobs_that_cannot_be_are_refused(qwen: Local, models: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"no device 'nonsense'|batch_size"):
        build(Options(model=str(models / "qwen2_5_vl"), **wrong))


def test_other_weights_have_another_hash(models: Path, tmp_path: Path) -> None:
    from mmrerank.backends._tiny import save_tiny

    save_tiny(tmp_path, "qwen2_5_vl", seed=1)
    hashes = {build(Options(model=str(place), device="cpu")).weights_hash for place in (models / "qwen2_5_vl", tmp_path)}
    assert len(hashes) == 2
    assert "" not in hashes
    assert tiny().weights_hash in hashes


def test_one_late_weight_or_another_template_changes_the_hash(qwen: Local, models: Path, tmp_path: Path) -> None:
    retrained = changed(models, tmp_path / "retrained", lambda weights: weights[sorted(weights)[-1]].add_(1e-3))
    reworded = tmp_path / "reworded"
    shutil.copytree(models / "qwen2_5_vl", reworded)
    (reworded / "chat_template.jinja").write_text((reworded / "chat_template.jinja").read_text() + "Well: ")
    hashes = [build(Options(model=str(place), device="cpu")).weights_hash for place in (retrained, reworded)]
    assert len({qwen.weights_hash, *hashes}) == 3


def test_a_name_on_the_hub_is_hashed_by_its_commit() -> None:
    checkpoint = Checkpoint(network=None, processor=None, sees=True, commit="0123456789abcdef0123")
    assert weights_hash_of(Source(name="some/name"), checkpoint) == "0123456789abcdef"
    assert weights_hash_of(Source(name="some/name"), replace(checkpoint, commit="")) == ""


def changed(models: Path, place: Path, change: Any) -> Path:
    shutil.copytree(models / "qwen2_5_vl", place)
    weights = load_file(place / "model.safetensors")
    change(weights)
    save_file(weights, place / "model.safetensors", metadata={"format": "pt"})
    return place


def test_weights_that_lack_or_exceed_are_refused(qwen: Local, models: Path, tmp_path: Path) -> None:
    lacking = changed(models, tmp_path / "lacking", lambda weights: weights.pop(next(name for name in weights if "up_proj" in name)))
    with pytest.raises(FormatError, match="missing keys"):
        build(Options(model=str(lacking), device="cpu"))
    exceeding = changed(models, tmp_path / "exceeding", lambda weights: weights.update(stranger=torch.ones(1)))
    with pytest.raises(FormatError, match="unexpected keys"):
        build(Options(model=str(exceeding), device="cpu"))


def test_without_a_chat_template_raw_prompts_are_read_and_others_refused(qwen: Local, models: Path, tmp_path: Path) -> None:
    place = tmp_path / "plain"
    shutil.copytree(models / "qwen2_5_vl", place)
    (place / "chat_template.jinja").unlink()
    for name in ("processor_config.json", "tokenizer_config.json"):
        settings = json.loads((place / name).read_text())
        settings.pop("chat_template", None)
        (place / name).write_text(json.dumps(settings))
    backend = build(Options(model=str(place), device="cpu"))
    with pytest.raises(FormatError, match="no chat template"):
        backend.generate([question("?")])
    raw = [(Message(role="raw", parts=("A: a question\nB: a page\n",)),)]
    assert np.array_equal(backend.choice_logprobs(raw, CHOICES).logprobs, qwen.choice_logprobs(raw, CHOICES).logprobs)


def test_names_that_lead_nowhere_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no model is named"):
        build(Options())
    with pytest.raises(InputError, match="is no folder"):
        build(Options(model=str(tmp_path / "absent")))
    with pytest.raises(FormatError, match="no checkpoint"):
        build(Options(model=str(tmp_path), device="cpu"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(BackendError, match="the hub did not give") as caught:
        build(Options(model="nobody/has-this-model", device="cpu"))
    assert "chat_http" in caught.value.hint
