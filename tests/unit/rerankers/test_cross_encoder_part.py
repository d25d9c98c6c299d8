"""cross_encoder/PATH: sequence classification, LogitScore over language and image-text models, pooled heads, and what is refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from judged_models import checkpoint
from makers import InMemory, coloured, picture
from tiny_models import saved

from mmrerank.errors import FormatError, InputError
from mmrerank.parts import make, options_of
from mmrerank.rerankers._pair_model import load_pair_model
from mmrerank.rerankers.cross_encoder import Options, build, save_tiny
from mmrerank.types import Candidate, Item, Query, Ranking

sentence_transformers = pytest.importorskip("sentence_transformers", reason="needs the extra `sentence`")

QUERY = Query(query_id="q", text="a red door")
TEXTS = ["a red door", "the boat by the old mill " * 4, "green", "a green boat", "a red door"]
TEXT_PAIR = """\
{%- set q = messages | selectattr('role', 'eq', 'query') | first -%}{%- set d = messages | selectattr('role', 'eq', 'document') | first -%}
{%- set s = messages | selectattr('role', 'eq', 'system') | list -%}
<|im_start|>user
{{ s[0].content if s else 'Its own' }} Q: {{ q.content }} D: {{ d.content }}<|im_end|>"""
PICTURE_PAIR = """\
{%- for message in messages -%}{{ message['role'] }}: {% for piece in message['content'] -%}\
{%- if piece['type'] == 'text' -%}{{ piece['text'] }}{%- else -%}<|vision_start|><|image_pad|><|vision_end|>{%- endif -%}\
{%- endfor -%}
{% endfor -%}"""


def items(texts: Sequence[str] = TEXTS) -> list[Candidate]:
    return [Candidate(item=Item(item_id=f"item-{n}", text=text)) for n, text in enumerate(texts)]


def raw(ranking: Ranking) -> dict[str, float | None]:
    return {c.item.item_id: c.raw_score for c in ranking.candidates}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


def classifier(models: Path, name: str = "classifier", seed: int = 0) -> Path:
    folder = models / name
    if not folder.exists():
        folder.mkdir()
        save_tiny(folder, seed=seed)
    return folder


def logit_score(models: Path, architecture: str, template: str) -> Path:
    """A folder with a modules.json that says how a language model scores a pair."""
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.cross_encoder.modules import LogitScore

    folder = checkpoint(models, architecture)
    task: Any = "any-to-any" if "vl" in architecture else "text-generation"
    transformer = Transformer(str(folder), transformer_task=task, processor_kwargs={"chat_template": template})
    yes, no = transformer.tokenizer.convert_tokens_to_ids(["yes", "no"])
    model = sentence_transformers.CrossEncoder(modules=[transformer, LogitScore(true_token_id=yes, false_token_id=no)], device="cpu")
    model.save(str(folder / "reranker"), create_model_card=False)
    return folder / "reranker"


def test_scores_are_raw_and_ranking_is_by_them(models: Path) -> None:
    import transformers

    folder = classifier(models)
    reranker = make(f"cross_encoder/{folder}(device=cpu, batch_size=2)", station="rerankers")
    ranking = reranker.rerank(QUERY, items())
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    for n, text in enumerate(TEXTS):
        with torch.inference_mode():
            logit = float(model(**tokenizer("a red door", " ".join(text.split()), return_tensors="pt")).logits[0, 0])
        assert raw(ranking)[f"item-{n}"] == pytest.approx(logit, abs=2e-4)
    scores = [c.raw_score for c in ranking.candidates]
    assert scores == sorted(scores, reverse=True)  # type: ignore[type-var]
    assert all(c.score == pytest.approx(torch.sigmoid(torch.tensor(c.raw_score)).item(), abs=1e-6) for c in ranking.candidates)
    assert raw(reranker.rerank(QUERY, items()[::-1])) == pytest.approx(raw(ranking), abs=2e-4)
    places = {item_id: place for place, item_id in enumerate(ranking.item_ids)}
    assert places["item-4"] == places["item-0"] + 1, "equal pairs keep their order"


def test_its_name_says_what_moves_a_score_and_parses_back(models: Path) -> None:
    options = Options(model=str(classifier(models)), words=30, device="cpu")
    name = build(options).name
    assert name == f"cross_encoder/{classifier(models)}(words=30)"
    assert options_of(name, Options) == Options(model=str(classifier(models)), words=30)


def test_logit_scores_come_by_the_template_and_prompt_of_the_checkpoint_or_ours(models: Path) -> None:
    folder = logit_score(models, "qwen2", TEXT_PAIR)
    reranker = build(Options(model=str(folder), device="cpu"))
    model = sentence_transformers.CrossEncoder(str(folder), device="cpu")
    pairs = [("a red door", " ".join(text.split())) for text in TEXTS]
    for prompt, query in ((None, QUERY), ("Find doors", Query(text="a red door", instruction="Find doors"))):
        expected = model.predict(pairs, prompt=prompt, activation_fn=torch.nn.Identity(), batch_size=1)
        ranking = reranker.rerank(query, items())
        assert raw(ranking) == pytest.approx({f"item-{n}": float(value) for n, value in enumerate(expected)}, abs=4e-4)
    told = build(Options(model=str(folder), instruction="Find doors", device="cpu"))
    assert raw(told.rerank(QUERY, items())) == pytest.approx(raw(ranking), abs=4e-4)
    assert raw(reranker.rerank(QUERY, items())) != pytest.approx(raw(ranking), abs=1e-3)


def test_pictures_go_in_beside_texts_where_the_checkpoint_takes_them(models: Path) -> None:
    folder = logit_score(models, "qwen2_vl", PICTURE_PAIR)
    reranker = build(Options(model=str(folder), device="cpu", batch_size=3))
    mixed = [Candidate(item=Item(item_id=f"{n}", image=InMemory(picture(n, (60, 80))), text=f"door {n}")) for n in range(3)]
    mixed += [Candidate(item=Item(item_id="bare", image=InMemory(picture(8, (90, 60))))), Candidate(item=Item(item_id="words", text="red"))]
    model = sentence_transformers.CrossEncoder(str(folder), device="cpu")
    for query, side in (
        (QUERY, "a red door"),
        (Query(text="in green", images=(InMemory(picture(9)),)), {"image": picture(9), "text": "in green"}),
        (Query(images=(InMemory(picture(9)),)), {"image": picture(9)}),
    ):
        ranking = reranker.rerank(query, mixed)
        sides = [{"image": picture(n, (60, 80)), "text": f"door {n}"} for n in range(3)]
        expected = [float(model.predict([(side, item)], activation_fn=torch.nn.Identity())[0]) for item in sides]
        assert [raw(ranking)[f"{n}"] for n in range(3)] == pytest.approx(expected, abs=4e-4)
        assert None not in raw(ranking).values()
        assert ranking.notes.messages == ()


def test_what_a_checkpoint_over_texts_cannot_carry_is_said_or_refused(models: Path) -> None:
    reranker = build(Options(model=str(classifier(models)), device="cpu"))
    pictured = [Candidate(item=Item(item_id="both", text="a door", image=InMemory(coloured(1)))), *items(["red"])]
    query = Query(text="a door", images=(InMemory(coloured(2)),), exclude_text=("blue",))
    assert reranker.rerank(query, pictured).notes.messages == (
        "the pictures of the query are not shown: the cross-encoder is shown texts",
        "what must not be there is not told to the cross-encoder: a pair has no place for it",
        "the checkpoint takes no pictures: items are shown by their text",
    )
    with pytest.raises(InputError, match="pictures alone"):
        reranker.rerank(Query(images=query.images), pictured)
    with pytest.raises(InputError, match="takes no pictures"):
        build(Options(model=str(classifier(models)), modality="image", device="cpu"))


def test_a_head_that_is_lost_or_was_never_trained_is_refused(models: Path, tmp_path: Path) -> None:
    import transformers
    from safetensors.torch import load_file, save_file

    headless = tmp_path / "headless"
    headless.mkdir()
    save_tiny(headless, seed=0)
    weights = {name: value for name, value in load_file(headless / "model.safetensors").items() if not name.startswith("classifier")}
    save_file(weights, headless / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(FormatError, match=r"missing keys in the weights: classifier\.bias, classifier\.weight; its head is lost"):
        build(Options(model=str(headless), device="cpu"))
    base = tmp_path / "base"
    base.mkdir()
    save_tiny(base, seed=0)
    transformers.BertModel(transformers.AutoConfig.from_pretrained(base)).save_pretrained(base)
    with pytest.raises(FormatError, match=r"kind BertModel, whose folder does not say .* judge\(recipe=NAME\)/local/PATH"):
        build(Options(model=str(base), device="cpu"))


def test_a_head_of_another_kind_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    save_tiny(tmp_path, seed=0)
    weights = load_file(tmp_path / "model.safetensors") | {"score.0.weight": torch.ones(4, 4), "score.2.weight": torch.ones(1, 4)}
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(FormatError, match=r"unexpected keys in the weights: score\.0\.weight, score\.2\.weight; its head is one"):
        build(Options(model=str(tmp_path), device="cpu"))


def test_a_language_model_that_does_not_say_how_it_scores_is_refused(models: Path) -> None:
    with pytest.raises(FormatError, match=r"kind Qwen2ForCausalLM, whose folder does not say how it scores a pair\. A language model"):
        build(Options(model=str(saved(models, "qwen2")), device="cpu"))


def test_a_classifier_of_several_classes_is_refused(tmp_path: Path) -> None:
    import transformers

    save_tiny(tmp_path, seed=0)
    config = transformers.AutoConfig.from_pretrained(tmp_path)
    config.num_labels = 3
    transformers.BertForSequenceClassification(config).save_pretrained(tmp_path)
    with pytest.raises(FormatError, match="3 numbers a pair"):
        build(Options(model=str(tmp_path), device="cpu"))


def test_code_of_a_checkpoint_runs_only_where_it_is_told(tmp_path: Path) -> None:
    save_tiny(tmp_path, seed=0)
    config = (tmp_path / "config.json").read_text(encoding="utf-8")
    mapped = config.replace('"model_type": "bert"', '"model_type": "strange", "auto_map": {"AutoConfig": "strange.Strange"}')
    (tmp_path / "config.json").write_text(mapped, encoding="utf-8")
    (tmp_path / "strange.py").write_text("raise SystemExit('it ran')\n", encoding="utf-8")
    with pytest.raises(FormatError, match=r"code of its own.*remote_code=True"):
        build(Options(model=str(tmp_path), device="cpu"))


def test_names_that_lead_nowhere_are_told_apart() -> None:
    for name, message in (("", "no model is named"), ("/no/such/folder", "no folder, and no name"), ("a/b/c", "no folder, and no name")):
        with pytest.raises(InputError, match=message):
            build(Options(model=name))
    with pytest.raises(InputError, match="no device 'abacus' here"):
        load_pair_model(".", device="abacus")
