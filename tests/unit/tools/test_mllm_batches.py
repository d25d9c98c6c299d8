"""The quick way through tokenizer, processor and model gives what transformers gives."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from mmrerank.backends.mini import FOLDER
from tools.mini_clip.data import Table, read_table
from tools.mini_mllm.batches import Encoder
from tools.mini_mllm.decode import answers
from tools.mini_mllm.forward import answer_logits, loss_of
from tools.mini_mllm.model import export, new_config, new_model, new_processor, new_tokenizer, prompt_pieces
from tools.mini_mllm.recipe import Model
from tools.mini_mllm.samples import Material, Sample, user_prompt
from tools.mini_mllm.tasks import QUESTIONS, TASKS, Settings
from tools.mini_mllm.train import wordings
from tools.mini_mllm.vocabulary import GRAMMAR

DATA = Path(__file__).parents[3] / "datasets" / "emoji"
SIZES = Model(
    vocabulary=700,
    bpe_tokens=560,
    text_width=64,
    text_layers=2,
    text_heads=2,
    text_key_heads=1,
    text_inner=96,
    vision_width=48,
    vision_layers=2,
    vision_heads=3,
    vision_inner=64,
    patch_px=18,
    max_pixels=288**2,
)


@pytest.fixture(scope="module")
def material() -> Material:
    table: Table = read_table(DATA, 72)
    return Material(table, ("train",), "train")


@pytest.fixture(scope="module")
def tokenizer(material: Material) -> Any:
    return new_tokenizer(wordings(material, 0), [*GRAMMAR, *QUESTIONS, *prompt_pieces()], SIZES)


@pytest.fixture(scope="module")
def folder(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("mllm")
    export(path, new_model(new_config(tokenizer, SIZES), 0), new_processor(tokenizer, SIZES))
    return path


@pytest.fixture(scope="module")
def loaded(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    model = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    return processor, model.eval()


def through_the_processor(processor: Any, sample: Sample) -> dict[str, torch.Tensor]:
    pictures = iter(sample.pictures)
    messages = [
        {
            "role": message.role,
            "content": [
                {"type": "text", "text": part} if isinstance(part, str) else {"type": "image", "image": Image.fromarray(next(pictures))}
                for part in message.parts
            ],
        }
        for message in sample.prompt
    ]
    return dict(processor.apply_chat_template(messages, tokenize=True, add_generation_prompt=True, return_dict=True, return_tensors="pt"))


@pytest.mark.parametrize("word", ["Yes", "No", *map(str, range(1, 26)), "<think>", "</answer>", '{"ranking":'])
def test_what_answers_are_made_of_is_one_token_each(tokenizer: Any, word: str) -> None:
    assert len(tokenizer.tokenize(word)) == 1
    assert tokenizer.decode(tokenizer.encode(word), skip_special_tokens=True) == word


def test_a_number_is_the_same_token_wherever_it_stands(tokenizer: Any) -> None:
    marks = tokenizer.convert_tokens_to_ids([str(n) for n in (3, 12)])
    for text in ("[3, 12]", "\nImage 3: \nImage 12: ", "3: x\n12: y", "off by 3, off by 12"):
        assert [i for i in tokenizer.encode(text) if i in marks] == marks, text


def test_pieces_of_the_prompts_are_one_token_and_come_back(tokenizer: Any) -> None:
    for piece in prompt_pieces():
        assert len(tokenizer.encode(piece)) == 1, piece
        assert tokenizer.decode(tokenizer.encode(piece)) == piece


@pytest.mark.parametrize("text", ["Zürich, 漢字 and \N{FIRE}\n\n  2024", "woman: dark skin tone, beard", ""])
def test_any_text_comes_back(tokenizer: Any, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


@pytest.mark.parametrize("task", TASKS)
def test_tokens_pixels_and_logits_are_those_of_transformers(material: Material, loaded: tuple[Any, Any], task: str) -> None:
    processor, model = loaded
    encoder = Encoder(processor.tokenizer, SIZES.token_px)
    chance, settings = random.Random(1), Settings(grid=2, count=4, max_pixels=144**2)
    samples = [TASKS[task](material, chance, settings) for _ in range(3)]
    batch = encoder.batch(samples)
    with torch.inference_mode():
        ours = answer_logits(model, batch)
    for n, sample in enumerate(samples):
        inputs = through_the_processor(processor, sample)
        length = inputs["input_ids"].shape[1]
        begin = int(batch.firsts[n])
        end = int(batch.firsts[n + 1]) if n + 1 < len(samples) else batch.answer_count
        assert torch.equal(inputs["input_ids"][0], batch.ids[n, :length])
        answer = batch.targets[begin:end]
        whole = {key: inputs[key] for key in ("pixel_values", "image_grid_thw")}
        whole["input_ids"] = torch.cat([inputs["input_ids"], answer[None]], dim=1)
        whole["attention_mask"] = torch.ones_like(whole["input_ids"])
        whole["mm_token_type_ids"] = (whole["input_ids"] == model.config.image_token_id).int()
        positions, _ = model.model.get_rope_index(
            whole["input_ids"], whole["mm_token_type_ids"], whole["image_grid_thw"], attention_mask=whole["attention_mask"]
        )
        assert torch.equal(positions[:, 0, :-1], batch.positions[:, n, : positions.shape[2] - 1])
        with torch.inference_mode():
            theirs = model(**whole).logits[0, length - 1 : -1]
        assert torch.allclose(theirs, ours[begin:end], atol=1e-5)


def test_pictures_of_several_sizes_go_to_their_places(material: Material, loaded: tuple[Any, Any]) -> None:
    """A sample's answer does not depend on what else is in its batch."""
    processor, model = loaded
    encoder = Encoder(processor.tokenizer, SIZES.token_px)
    chance, settings = random.Random(2), Settings(grid=2, count=4, max_pixels=144**2)
    samples = [TASKS[task](material, chance, settings) for task in ("rank", "name", "pages", "changed")]
    with torch.inference_mode():
        together = answer_logits(model, encoder.batch(samples))
        alone = [answer_logits(model, encoder.batch([sample])) for sample in samples]
    assert torch.allclose(together, torch.cat(alone), atol=1e-5)


def test_echoed_words_and_decisions_are_where_they_should_be(tokenizer: Any) -> None:
    encoder = Encoder(tokenizer, SIZES.token_px)
    picture = np.zeros((72, 72, 3), dtype=np.uint8)
    prompt = user_prompt(Image.new("RGB", (1, 1)), "\nImage Caption: dark bird\nYes?")
    echoing = Sample(prompt=prompt, pictures=(picture,), answer="Yes", echo="dark bird")
    batch = encoder.batch([echoing, echoing], echo=True)
    ids = batch.ids.flatten()
    assert tokenizer.decode(ids[batch.places[batch.answer_count :] + 1]) == " dark bird" * 2
    assert tokenizer.decode(batch.targets[batch.answer_count :]) == " dark bird" * 2
    assert tokenizer.decode(batch.targets[batch.finals]) == "YesYes"
    ranking = Sample(prompt=prompt, pictures=(picture,), answer='1: x, off by 2\n2: y, off by 0\n{"ranking": [2, 1]}')
    words = encoder.batch([ranking])
    assert tokenizer.decode(words.targets[words.decisions]) == "202"
    expected = encoder.batch([replace(ranking, answer=f"wanted: y\n{ranking.answer}")])
    assert tokenizer.decode(expected.targets[expected.decisions]) == "y202"
    with_slips = encoder.batch([replace(ranking, answer=f"wanted: y\n{ranking.answer}", wrong=((8, 9),))])
    assert tokenizer.decode(with_slips.targets[with_slips.decisions]) == "202"
    assert tokenizer.decode(words.targets[words.finals]) == "2"
    assert len(encoder.batch([echoing]).targets) == 2  # measured without echoes: Yes and the end mark


def test_wrong_names_are_read_and_not_foretold(tokenizer: Any) -> None:
    encoder = Encoder(tokenizer, SIZES.token_px)
    picture = np.zeros((72, 72, 3), dtype=np.uint8)
    answer = '1: dark bird, off by 2\n2: red boat, off by 0\n{"ranking": [2, 1]}'
    start = answer.index("dark bird")
    sample = Sample(
        prompt=user_prompt(Image.new("RGB", (1, 1)), "\nx"), pictures=(picture,), answer=answer, wrong=((start, start + len("dark bird")),)
    )
    batch = encoder.batch([sample, sample])
    learnt = answer.replace(" dark bird", "")
    assert tokenizer.decode(batch.targets, skip_special_tokens=True) == learnt * 2
    assert tokenizer.decode(batch.targets[batch.decisions]) == "202" * 2
    assert tokenizer.decode(batch.targets[batch.firsts]) == "11"
    ids = batch.ids.flatten()
    assert torch.equal(ids[batch.places[:3] + 1], batch.targets[:3])
    assert "dark bird" in tokenizer.decode(batch.ids[0])


def test_own_answers_are_those_of_transformers(material: Material) -> None:
    """With the model that ships: a random one says the same whatever it is asked."""
    from transformers import AutoModelForImageTextToText, AutoProcessor

    processor = AutoProcessor.from_pretrained(FOLDER, local_files_only=True)
    model = AutoModelForImageTextToText.from_pretrained(FOLDER, local_files_only=True, dtype=torch.float32).eval()
    encoder = Encoder(processor.tokenizer, SIZES.token_px)
    chance, settings = random.Random(3), Settings(grid=2, count=4, max_pixels=144**2)
    samples = [TASKS[task](material, chance, settings) for task in ("rank", "name", "changed", "target")]
    ours = answers(model, encoder, samples, "cpu", most=24)
    for sample, text in zip(samples, ours, strict=True):
        inputs = through_the_processor(processor, sample)
        out = model.generate(**inputs, max_new_tokens=24, do_sample=False)
        assert encoder.text(out[0, inputs["input_ids"].shape[1] :].tolist()) == text
    assert len(set(ours)) == 4


def test_decisions_weigh_more_in_the_loss(tokenizer: Any) -> None:
    encoder = Encoder(tokenizer, SIZES.token_px)
    picture = np.zeros((72, 72, 3), dtype=np.uint8)
    batch = encoder.batch([Sample(prompt=user_prompt(Image.new("RGB", (1, 1)), "\nx"), pictures=(picture,), answer="Yes")])
    logits = torch.zeros(2, 700)
    even = float(loss_of(logits, batch))
    wrong_end, wrong_word = logits.clone(), logits.clone()
    wrong_word[0, 0], wrong_end[1, 0] = 5.0, 5.0
    assert even < float(loss_of(wrong_end, batch)) < float(loss_of(wrong_word, batch))


def test_the_folder_generates_offline_in_bfloat16(folder: Path, material: Material) -> None:
    from safetensors import safe_open
    from transformers import AutoModelForImageTextToText, AutoProcessor

    with safe_open(folder / "model.safetensors", "pt") as file:
        assert {file.get_tensor(name).dtype for name in file.keys()} == {torch.bfloat16}  # noqa: SIM118
    processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
    model = AutoModelForImageTextToText.from_pretrained(folder, local_files_only=True)
    sample = TASKS["name"](material, random.Random(0), Settings(grid=2, count=4, max_pixels=144**2))
    inputs = through_the_processor(processor, sample)
    assert inputs["image_grid_thw"].tolist() == [[1, 4, 4]]
    out = model.generate(**inputs, max_new_tokens=3, do_sample=False)
    assert out.shape[1] <= inputs["input_ids"].shape[1] + 3
