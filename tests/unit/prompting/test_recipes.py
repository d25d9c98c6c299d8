"""Recipes: what they hold, that they round-trip, how prompts are made of them, and what a checkpoint says itself."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from makers import coloured

from mmrerank.errors import FormatError, UnknownName
from mmrerank.prompting.recipes import (
    Side,
    in_our_words,
    of_checkpoint,
    prompt_of,
    prompt_text,
    read_recipe,
    shipped,
    write_recipe,
)
from mmrerank.testing import FakeBackend
from mmrerank.types import Markup, Message

MINE = """
version = "1"
about = "mine"
[layout]
turns = [{ role = "user", parts = ["Q: {query}\\n", "T: {instruction}\\n", "D: {document}\\n", "{request}"] }]
[words]
request = "Does it fit?"
[answer]
choices = ["good", "bad"]
"""


class FromFiles(FakeBackend):
    """A backend over a checkpoint with these files."""

    takes = frozenset({"text"})

    def __init__(self, template: str, **files: str) -> None:
        super().__init__()
        self.chat_template = template
        self.files = files

    def file_text(self, name: str) -> str | None:
        return self.files.get(name.partition(".")[0])


def written(folder: Path, text: str) -> str:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return str(path)


@pytest.mark.parametrize("name", shipped())
def test_what_ships_reads_and_round_trips(name: str, tmp_path: Path) -> None:
    recipe = read_recipe(name)
    assert recipe.name == name
    path = tmp_path / "copy.toml"
    write_recipe(recipe, path)
    again = read_recipe(str(path))
    assert again == recipe
    assert prompt_text(again).digest == prompt_text(recipe).digest


def test_what_ships_is_the_table_of_checkpoints() -> None:
    names = {checkpoint for name in shipped() for checkpoint in read_recipe(name).checkpoints}
    assert {"Qwen/Qwen3-Reranker-0.6B", "Qwen/Qwen3-VL-Reranker-2B", "vec-ai/lychee-rerank-mm", "zeroentropy/zerank-2"} <= names
    assert {"mixedbread-ai/mxbai-rerank-base-v2", "BAAI/bge-reranker-v2-gemma", "lightonai/MonoQwen2-VL-v0.1"} <= names


def test_parts_stand_in_their_order_and_one_about_nothing_is_left_out(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, MINE))
    (message,) = prompt_of(recipe, Side(text="red"), Side(text="door"), "")
    assert "".join(map(str, message.parts)) == "Q: red\nD: door\nDoes it fit?"
    (message,) = prompt_of(recipe, Side(text="red"), Side(text="door"), "find")
    assert "".join(map(str, message.parts)) == "Q: red\nT: find\nD: door\nDoes it fit?"


def test_control_tokens_are_the_recipes_and_never_what_is_filled_in() -> None:
    recipe = read_recipe("qwen3_reranker")
    (message,) = prompt_of(recipe, Side(text="<|im_end|>"), Side(text="door"), "<think>")
    marked = {str(part): isinstance(part, Markup) for part in message.parts}
    assert not marked["<|im_end|>"]
    assert not marked["<think>"]
    assert all(marked[part] for part in marked if part.startswith("<|im_start|>") or part == recipe.words["system"])


def test_pictures_stand_first_or_last_and_an_empty_side_has_its_word() -> None:
    recipe, picture = read_recipe("qwen3_vl_reranker"), coloured(1)
    _, user = prompt_of(recipe, Side(), Side(pictures=(picture,), text="a door"), "find")
    assert user.parts == ("<Instruct>: ", "find", "<Query>:", "NULL", "\n<Document>:", picture, "a door")
    turned = replace(recipe, layout=replace(recipe.layout, order="texts first"))
    _, user = prompt_of(turned, Side(text="red"), Side(pictures=(picture,), text="a door"), "find")
    assert user.parts[-2:] == ("a door", picture)


def test_a_base_is_changed_entry_by_entry_and_words_that_are_said_are_no_longer_ours(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, 'base = "qwen3_reranker"\n[words]\nsystem = "Theirs."\n[limits]\ntokens = 100\n'))
    base = read_recipe("qwen3_reranker")
    assert (recipe.words["system"], recipe.limits.tokens, recipe.limits.pictures) == ("Theirs.", 100, 0)
    assert (base.trained, recipe.trained) == (("system", "instructions"), ("instructions",))
    assert recipe.layout == base.layout
    assert "system" in in_our_words(base)
    assert "instructions" in in_our_words(recipe)
    assert in_our_words(replace(recipe, trained=())) == ""


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"Q: {query}\\n", ', ""), "shows no query"),
        (("{request}", "{wish}"), "names wish"),
        (('["good", "bad"]', '["good"]'), "2 different choices"),
        (('["good", "bad"]', '["good", "good"]'), "2 different choices"),
        (("[answer]", "[answer]\nvalues = [1]\nread = 'expectation'"), "1 different choices"),
        (('about = "mine"', 'abuot = "mine"'), "about|abuot"),
        (('role = "user"', 'role = "teacher"'), "role"),
        (("{request}", "{}"), "without a name"),
        (("[answer]", "[limits]\ntokens = 0\n[answer]"), "positive"),
        (('version = "1"', 'version = "1"\nbase = "recipe.toml"'), "comes to an end"),
    ],
)
def test_what_is_wrong_with_a_recipe_is_said(change: tuple[str, str], message: str, tmp_path: Path) -> None:
    assert change[0] in MINE
    with pytest.raises(FormatError, match=message):
        read_recipe(written(tmp_path, MINE.replace(*change)))


def test_a_name_that_does_not_ship_is_answered_with_those_that_do(tmp_path: Path) -> None:
    with pytest.raises(UnknownName, match="qwen3_reranker"):
        read_recipe("qwen3_rerank")
    with pytest.raises(UnknownName, match="yes_no"):
        read_recipe(written(tmp_path, 'base = "yesno"'))
    with pytest.raises(FormatError, match="no such file"):
        read_recipe(str(tmp_path / "absent.toml"))


def test_a_template_that_takes_a_query_and_a_document_writes_the_prompt_itself() -> None:
    template = "{{ messages | selectattr('role', 'eq', 'query') }} {{ messages | selectattr(\"role\", \"eq\", \"document\") }}"
    recipe = of_checkpoint(read_recipe("qwen3_reranker"), FromFiles(template))
    assert recipe.trained == ("instructions",)
    assert prompt_of(recipe, Side(text="red"), Side(text="door"), "") == (
        Message(role="query", parts=("red",)),
        Message(role="document", parts=("door",)),
    )
    assert [message.role for message in prompt_of(recipe, Side(text="red"), Side(text="door"), "find")] == ["system", "query", "document"]


def test_a_template_for_chats_or_a_recipe_of_ours_stays_as_it_is() -> None:
    chat = "{% for message in messages %}<|im_start|>{{ message['role'] }}{{ message['content'] }}{% endfor %}"
    assert of_checkpoint(read_recipe("qwen3_reranker"), FromFiles(chat)) == read_recipe("qwen3_reranker")
    assert of_checkpoint(read_recipe("yes_no"), FromFiles("'query' 'document'")) == read_recipe("yes_no")
    assert of_checkpoint(read_recipe("qwen3_reranker"), FakeBackend()) == read_recipe("qwen3_reranker")


def test_the_default_prompt_of_a_checkpoint_is_its_instruction() -> None:
    settings = '{"prompts": {"web": "Its own task", "other": "x"}, "default_prompt_name": "web"}'
    recipe = of_checkpoint(read_recipe("qwen3_reranker"), FromFiles("chat", config_sentence_transformers=settings))
    assert (recipe.instructions["search"], recipe.trained) == ("Its own task", ("system",))
    none = '{"prompts": {"web": "x"}, "default_prompt_name": null}'
    assert of_checkpoint(read_recipe("qwen3_reranker"), FromFiles("chat", config_sentence_transformers=none)).trained == (
        "system",
        "instructions",
    )
