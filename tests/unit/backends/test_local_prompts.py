"""What a local model reads, byte for byte, and what it makes of it: text models, answers begun, raw prompts, markup."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from makers import picture
from tiny_models import TEXT_NAMES, saved
from tokenizers import Regex

from mmrerank.backends._inputs import Preparer
from mmrerank.backends.local import Local, Options, build
from mmrerank.errors import InputError
from mmrerank.types import Decoding, Markup, Message, Prompt

CHOICES = ("Yes", "No", "Yes, surely", "No 12")


def question(text: str, begun: str = "") -> Prompt:
    asked = (Message(role="system", parts=("be brief",)), Message(role="user", parts=(text, " is it relevant?")))
    return (*asked, Message(role="assistant", parts=(begun,))) if begun else asked


PROMPTS = (
    question("short"),
    question("a question that is quite a bit longer than the first one was, and then some"),
    question("short", begun="The answer is "),
    (Message(role="raw", parts=("A: a question\nB: ", "a passage", "\nYes or No?\n")),),
    question("another question"),
)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module", params=TEXT_NAMES)
def folder(request: pytest.FixtureRequest, models: Path) -> Path:
    return saved(models, request.param)


@pytest.fixture(scope="module")
def backend(folder: Path) -> Local:
    return build(Options(model=str(folder), device="cpu", batch_size=3))


@pytest.fixture(scope="module")
def qwen(models: Path) -> Local:
    return build(Options(model=str(saved(models, "qwen3")), device="cpu"))


@pytest.fixture(scope="module")
def vision(models: Path) -> Local:
    return build(Options(model=str(saved(models, "qwen2_vl")), device="cpu"))


class Plain:
    """One prompt at a time, straight to tokenizer and model."""

    def __init__(self, folder: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        self.model: Any = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()

    def ids(self, text: str) -> torch.Tensor:
        return torch.tensor([self.tokenizer(text, add_special_tokens=False)["input_ids"]])

    @torch.inference_mode()
    def logprobs(self, text: str) -> list[float]:
        totals = []
        for choice in CHOICES:
            ids, total = self.ids(text), 0.0
            for token in self.tokenizer(choice, add_special_tokens=False)["input_ids"]:
                total += float(self.model(input_ids=ids).logits[0, -1].double().log_softmax(-1)[token])
                ids = torch.cat([ids, torch.tensor([[token]])], dim=1)
            totals.append(total)
        return totals

    @torch.inference_mode()
    def state(self, text: str) -> Any:
        return self.model(input_ids=self.ids(text), output_hidden_states=True).hidden_states[-1][0, -1].numpy()


def chatml(*turns: tuple[str, str], end: str = "<|im_start|>assistant\n") -> str:
    return "".join(f"<|im_start|>{role}\n{text}<|im_end|>\n" for role, text in turns) + end


TEXTS = (
    chatml(("system", "be brief"), ("user", "short is it relevant?")),
    chatml(("system", "be brief"), ("user", "a question that is quite a bit longer than the first one was, and then some is it relevant?")),
    chatml(("system", "be brief"), ("user", "short is it relevant?")) + "The answer is ",
    "A: a question\nB: a passage\nYes or No?\n",
    chatml(("system", "be brief"), ("user", "another question is it relevant?")),
)


def test_the_whole_prompt_is_as_it_should_be_byte_for_byte(backend: Local) -> None:
    assert tuple(backend._prepare.text(prompt) for prompt in PROMPTS) == TEXTS


def test_text_models_equal_a_plain_computation_single_batched_and_shuffled(folder: Path, backend: Local) -> None:
    plain = Plain(folder)
    expected = np.array([plain.logprobs(text) for text in TEXTS])
    batched = backend.choice_logprobs(PROMPTS, CHOICES)
    single = np.concatenate([backend.choice_logprobs([prompt], CHOICES).logprobs for prompt in PROMPTS])
    shuffled = backend.choice_logprobs([PROMPTS[n] for n in (3, 0, 4, 2, 1)], CHOICES).logprobs[[1, 4, 3, 0, 2]]
    for actual in (batched.logprobs, single, shuffled):
        assert np.abs(actual - expected).max() < 1e-4
    assert np.ptp(expected[:, 0]) > 1e-4, "the prompts differ, so the comparison can fail"
    assert batched.lengths == tuple(len(plain.tokenizer(choice)["input_ids"]) for choice in CHOICES)
    assert batched.cost.prompt_tokens == sum(plain.ids(text).shape[1] for text in TEXTS)


def test_states_are_those_of_the_last_token_whoever_stands_beside_it(folder: Path, backend: Local) -> None:
    plain = Plain(folder)
    expected = np.array([plain.state(text) for text in TEXTS])
    batched = backend.embed(PROMPTS)
    alone = np.concatenate([backend.embed([prompt]) for prompt in PROMPTS])
    assert batched.dtype == np.float32
    assert np.abs(batched - expected).max() < 1e-4
    assert np.abs(alone - expected).max() < 1e-4
    assert np.abs(np.linalg.norm(expected, axis=1) - 1).min() > 1e-3, "as the model leaves them, not unit rows"
    assert backend.embed([]).shape == (0, expected.shape[1])


def test_states_of_pictures_do_not_depend_on_their_neighbours(vision: Local) -> None:
    prompts = [(Message(role="user", parts=("what?" * n, picture(n, size=(40 + 20 * n, 50)))),) for n in range(1, 4)]
    alone = np.concatenate([vision.embed([prompt]) for prompt in prompts])
    assert np.abs(vision.embed(prompts) - alone).max() < 1e-4
    assert np.abs(alone[0] - alone[1]).max() > 1e-3


def test_an_answer_begun_is_continued_with_what_the_model_says_behind_it(folder: Path, backend: Local) -> None:
    plain = Plain(folder)
    begun, closed = backend.generate([PROMPTS[2], PROMPTS[0]], Decoding(max_tokens=8))
    ids = plain.ids(TEXTS[2])
    expected = plain.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=8, do_sample=False)
    assert begun.text == plain.tokenizer.decode(expected[0, ids.shape[1] :], skip_special_tokens=True)
    assert begun.text != closed.text, "so the comparison can fail"


def test_tokens_stand_beside_their_log_probabilities_and_join_to_the_answer(qwen: Local) -> None:
    for answer in qwen.generate(PROMPTS, Decoding(max_tokens=24, logprobs=True)):
        assert answer.tokens is not None
        assert answer.logprobs is not None
        assert len(answer.tokens) == len(answer.logprobs) == answer.cost.generated_tokens
        assert "".join(answer.tokens) == answer.text
    (plain,) = qwen.generate(PROMPTS[:1], Decoding(max_tokens=2))
    assert plain.tokens is None


def test_a_letter_of_several_tokens_comes_with_its_last_one(qwen: Local) -> None:
    ids = qwen._prepare._tokens("aé漢b")
    pieces = qwen._prepare.pieces_of(ids)
    assert "".join(pieces) == "aé漢b"
    assert "" in pieces
    assert all("\ufffd" not in piece for piece in pieces)


def test_control_tokens_are_letters_except_in_markup(qwen: Local) -> None:
    text = "a page that says <|im_end|>"
    plain, marked = ((Message(role="user", parts=(kind(text),)),) for kind in (str, Markup))
    halves = (Message(role="user", parts=("a page that says <|im_", "end|>")),)
    assert qwen._prepare.text(plain) == chatml(("user", "a page that says < |im_end|>"))
    assert qwen._prepare.text(halves) == qwen._prepare.text(plain), "what was cut in two is as harmless"
    assert qwen._prepare.text(marked) == chatml(("user", text))
    tokens = qwen.count_tokens([plain, marked])
    assert tokens[1] < tokens[0]


def test_markup_may_stand_among_plain_parts(qwen: Local) -> None:
    parts = (Markup("<|im_start|>"), "x <|im_end|>", Markup("<|im_end|>\n"))
    assert qwen._prepare.text((Message(role="raw", parts=parts),)) == "<|im_start|>x < |im_end|><|im_end|>\n"


def test_a_picture_in_a_raw_prompt_is_the_bare_placeholder(vision: Local) -> None:
    parts = ("Document:\n", Markup("<|vision_start|>"), picture(1, size=(60, 40)), Markup("<|vision_end|>"), "\nQuery: a < b")
    raw = (Message(role="raw", parts=parts),)
    chat = (Message(role="user", parts=("Document:\n", picture(1, size=(60, 40)), "\nQuery: a < b")),)
    text = "Document:\n<|vision_start|><|image_pad|><|vision_end|>\nQuery: a < b"
    assert vision._prepare.text(raw) == text
    assert vision._prepare.text(chat) == chatml(("user", text))
    assert np.isfinite(vision.choice_logprobs([raw, chat], CHOICES).logprobs).all()


@pytest.mark.parametrize(
    ("prompt", "message"),
    [
        ((Message(role="user", parts=("what?", picture(1))),), "text-only model .qwen3. and takes no pictures"),
        ((Message(role="raw", parts=("x",)), Message(role="user", parts=("y",))), "is the whole prompt; got 2"),
        ((), "no message"),
    ],
)
def test_what_a_text_model_cannot_take_is_said(qwen: Local, prompt: Prompt, message: str) -> None:
    for ask in (qwen.generate, lambda prompts: qwen.choice_logprobs(prompts, CHOICES), qwen.embed, qwen.count_tokens):
        with pytest.raises(InputError, match=message):
            ask([prompt])


def test_a_prompt_beyond_the_context_is_said_with_its_length_and_can_be_counted(qwen: Local) -> None:
    long: Prompt = (Message(role="user", parts=("word " * 5000,)),)
    (count,) = qwen.count_tokens([long])
    assert count > 4096
    for ask in (qwen.generate, lambda prompts: qwen.choice_logprobs(prompts, CHOICES), qwen.embed):
        with pytest.raises(InputError, match=rf"has {count} tokens.*holds 4096"):
            ask([PROMPTS[0], long])


def test_a_cut_counts_control_tokens_as_the_letters_that_they_are_read_as(qwen: Local) -> None:
    text = "<|im_end|>" * 9
    for tokens in (0, 1, 5, 30):
        beginning = qwen.cut(text, tokens)
        prompt, empty = ((Message(role="raw", parts=(part,)),) for part in (beginning + "x", "x"))
        assert qwen.count_tokens([prompt])[0] - qwen.count_tokens([empty])[0] <= tokens + 1
    assert len(qwen.cut(text, 30)) > 10
    assert "<|im_end|>" in text[: len(qwen.cut(text, 30))]


def test_texts_are_cut_at_whole_letters_and_never_beyond_the_tokens(qwen: Local) -> None:
    text = "Is this what was asked for? Été 漢字 🙂 and more"
    whole = len(qwen._prepare._tokens(text))
    assert qwen.cut(text, whole) == text
    for tokens in range(whole):
        beginning = qwen.cut(text, tokens)
        assert text.startswith(beginning)
        assert len(qwen._prepare._tokens(beginning)) <= tokens
    assert len(qwen.cut(text, whole // 2)) > 3


class Templated:
    """A tokenizer with a template of its own, as other families have them."""

    def __init__(self, tokenizer: Any, template: str) -> None:
        self.__dict__.update(tokenizer=tokenizer, template=template)

    def text(self, prompt: Prompt) -> str:
        from mmrerank.backends._rendering import Renderer

        self.tokenizer.chat_template = self.template
        return Renderer(self.tokenizer, self.tokenizer, "templated", kind="qwen3", sees=False)(prompt).text


OPENS = "{% if add_generation_prompt %}"
TRIMS = "{% for m in messages %}[{{ m.role }}] {{ m.content | trim }} </s>{% endfor %}" + OPENS + "[assistant]{% endif %}"
THINKS = """\
{% for m in messages %}<{{ m['role'] }}>
{% set content = m['content'] %}{% if m['role'] == 'assistant' %}{% set thought = '' %}{% if '</think>' in content %}\
{% set thought = content.split('</think>')[0].split('<think>')[-1].strip() %}{% set content = content.split('</think>')[-1].lstrip() %}\
{% endif %}<think>
{{ thought }}
</think>

{% endif %}{{ content }}<end>
{% endfor %}{% if add_generation_prompt %}<assistant>
{% endif %}"""
DROPS = "{% for m in messages %}{% if m.role == 'user' %}Q: {{ m.content }}\n{% endif %}{% endfor %}" + OPENS + "A:{% endif %}"


@pytest.mark.parametrize(
    ("template", "begun", "end"),
    [
        (TRIMS, "The answer is ", "[user] a </s>[assistant] The answer is "),
        (TRIMS, " The ", "[user] a </s>[assistant] The "),
        (THINKS, "Yes", "<user>\na<end>\n<assistant>\n<think>\n\n</think>\n\nYes"),
        (THINKS, "<think>\n\n</think>\n\n", "<user>\na<end>\n<assistant>\n<think>\n\n</think>\n\n"),
        (THINKS, "<think>\nlet me see", "<user>\na<end>\n<assistant>\n<think>\nlet me see"),
        (DROPS, " Yes", "Q: a\nA: Yes"),
    ],
)
def test_an_answer_begun_stands_where_the_template_places_answers(models: Path, template: str, begun: str, end: str) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(saved(models, "qwen3"), local_files_only=True)
    prompt = (Message(role="user", parts=("a",)), Message(role="assistant", parts=(begun,)))
    assert Templated(tokenizer, template).text(prompt) == end


class WordMarks:
    """A tokenizer that marks the beginning of words, as SentencePiece does, and puts <s> before every text."""

    def __init__(self) -> None:
        from tokenizers import Tokenizer, models, pre_tokenizers, processors
        from transformers import PreTrainedTokenizerFast

        words = {word: n for n, word in enumerate(["<unk>", "<s>", "</s>", "▁", "▁Yes", "Yes", "▁A:", "A:", "[", "▁["])}
        tokenizer = Tokenizer(models.BPE(vocab=words, merges=[], unk_token="<unk>", ignore_merges=True))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Metaspace(prepend_scheme="first"), pre_tokenizers.Split(Regex(r"▁?A:|▁?\[|▁?Yes"), "isolated")]
        )
        tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
        self.tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=tokenizer, unk_token="<unk>", bos_token="<s>", eos_token="</s>", chat_template="<s>{{ messages[0].content }}A:"
        )


@pytest.mark.parametrize(
    ("prompt", "choice", "expected"),
    [
        ((Message(role="user", parts=("x",)),), "Yes", ["▁Yes"]),  # behind the template's own colon, as it was trained
        ((Message(role="raw", parts=("A:",)),), "Yes", ["Yes"]),  # letter by letter
        ((Message(role="raw", parts=("A:",)),), " Yes", ["▁Yes"]),
        ((Message(role="raw", parts=("A:[",)),), "Yes", ["Yes"]),
    ],
)
def test_a_choice_goes_on_from_a_raw_prompt_letter_by_letter(qwen: Local, prompt: Prompt, choice: str, expected: list[str]) -> None:
    tokenizer = WordMarks().tokenizer
    prepare = Preparer(tokenizer, qwen._model, "marks")
    assert tokenizer.convert_ids_to_tokens(prepare.ids_of(choice, prepare.begun(prompt))) == expected


def test_what_a_tokenizer_puts_before_every_text_stands_there_once(qwen: Local) -> None:
    prepare = Preparer(WordMarks().tokenizer, qwen._model, "marks")
    assert prepare.text((Message(role="raw", parts=("A:",)),)) == "<s>A:"
    assert prepare.text((Message(role="raw", parts=(Markup("<s>A:"),)),)) == "<s>A:"
    assert prepare.text((Message(role="user", parts=("x",)),)) == "<s>xA:"
