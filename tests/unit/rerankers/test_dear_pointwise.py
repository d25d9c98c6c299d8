"""DeAR's first stage: its layout token for token, where the score is read, adapters, and heads that nobody trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from makers import InMemory, coloured

from mmrerank import rerank
from mmrerank.errors import FormatError, InputError
from mmrerank.models.scoring_decoder import ScoringDecoder
from mmrerank.parts import make
from mmrerank.rerankers.dear_pointwise import DOCUMENT_TOKENS, PLACES, QUERY_TOKENS, Options, PairScores, build
from mmrerank.testing import FakeBackend
from mmrerank.types import Candidate, Item, Query

# peft asks transformers by an old name
pytestmark = pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
TEXTS = ["a red door", "a boat", "the red door of a red house by the sea, painted last year", "red"]


def save_tokenizer(folder: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(["query: document: a red door"] * 3, trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet))
    special = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "</s>"}  # as in the released code: padded with the end token
    transformers.PreTrainedTokenizerFast(tokenizer_object=bpe, **special).save_pretrained(folder)


def config(**more: Any) -> Any:
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    return transformers.LlamaConfig(vocab_size=320, initializer_range=0.3, pad_token_id=0, **sizes, **more)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A decoder of two layers with a scoring head, random; what it lacks in sense it has in structure."""
    folder = tmp_path_factory.mktemp("whole")
    torch.manual_seed(0)
    transformers.LlamaForSequenceClassification(config(num_labels=1)).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def language_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("causal")
    torch.manual_seed(1)
    transformers.LlamaForCausalLM(config()).save_pretrained(folder)
    save_tokenizer(folder)
    return folder


@pytest.fixture(scope="module")
def adapter(language_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    """A LoRA adapter with a head over a language model, and the model that it was saved from."""
    peft = pytest.importorskip("peft")
    torch.manual_seed(2)
    base = transformers.AutoModelForSequenceClassification.from_pretrained(language_model, num_labels=1)
    settings = peft.LoraConfig(task_type="SEQ_CLS", r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    model = peft.get_peft_model(base, settings)
    folder = tmp_path_factory.mktemp("adapter")
    model.save_pretrained(folder)
    return folder, model.eval()


def direct(model: Any, ids: list[int]) -> float:
    """The logit that transformers' own class gives to one sequence without padding."""
    with torch.inference_mode():
        return float(model(torch.tensor([ids])).logits[0, 0])


def test_two_segments_each_behind_a_begin_token_are_cut_apart(whole: Path) -> None:
    decoder = ScoringDecoder.load(str(whole))
    tokenizer = decoder.tokenizer
    query, text = tokenizer("query: a red door")["input_ids"], tokenizer("document: the boat")["input_ids"]
    assert PairScores(decoder).ids("a red door", "the boat") == [tokenizer.bos_token_id, *query, tokenizer.bos_token_id, *text]
    long = PairScores(decoder).ids("q " * 500, "w " * 500)
    places = [n for n, token in enumerate(long) if token == tokenizer.bos_token_id]
    assert places == [0, 1 + QUERY_TOKENS]
    assert len(long) == 2 + QUERY_TOKENS + DOCUMENT_TOKENS == PLACES - 1


def test_what_looks_like_a_control_token_in_a_text_is_none(whole: Path) -> None:
    decoder = ScoringDecoder.load(str(whole))
    ids = PairScores(decoder).ids("</s> red", "<s> door </s>")
    assert ids.count(decoder.tokenizer.bos_token_id) == 2
    assert decoder.tokenizer.eos_token_id not in ids
    assert "<s> door </s>" in decoder.tokenizer.decode(ids)


def test_a_score_is_the_logit_at_the_last_token_whatever_stands_beside_it(whole: Path) -> None:
    decoder = ScoringDecoder.load(str(whole))
    model = transformers.LlamaForSequenceClassification.from_pretrained(whole).eval()
    pairs = PairScores(decoder)
    together = pairs.predict([("red door", text) for text in TEXTS])
    alone = [direct(model, pairs.ids("red door", text)) for text in TEXTS]
    np.testing.assert_allclose(together, alone, atol=1e-4)
    assert np.ptp(together) > 0.01, "a head whose scores are all alike would pass every test"


def test_read_padded_is_what_the_released_code_reads(whole: Path) -> None:
    """Padded with the end token to 228, and the model's class told that padding is another one: it reads at the last place."""
    decoder = ScoringDecoder.load(str(whole))
    model = transformers.LlamaForSequenceClassification.from_pretrained(whole).eval()
    scores = PairScores(decoder, padded=True).predict([("red door", text) for text in TEXTS])
    for text, score in zip(TEXTS, scores, strict=True):
        ids = PairScores(decoder).ids("red door", text)
        filled = torch.tensor([ids + [decoder.tokenizer.eos_token_id] * (PLACES - len(ids))])
        mask = torch.tensor([[1] * len(ids) + [0] * (PLACES - len(ids))])
        with torch.inference_mode():
            assert float(score) == pytest.approx(float(model(filled, attention_mask=mask).logits[0, 0]), abs=1e-4)
    assert not np.allclose(scores, PairScores(decoder).predict([("red door", text) for text in TEXTS]), atol=1e-3)


def test_an_adapter_is_merged_and_scores_as_peft_does(adapter: tuple[Path, Any], language_model: Path) -> None:
    folder, model = adapter
    for decoder in (ScoringDecoder.load(str(folder)), ScoringDecoder.load(str(folder), base=str(language_model))):
        pairs = PairScores(decoder)
        expected = [direct(model, pairs.ids("red door", text)) for text in TEXTS]
        np.testing.assert_allclose(pairs.predict([("red door", text) for text in TEXTS]), expected, atol=1e-4)


def test_a_head_that_nobody_trained_is_refused(
    language_model: Path, adapter: tuple[Path, Any], tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with pytest.raises(FormatError, match=r"missing in the weights: score\.weight; they would be random"):
        build(Options(checkpoint=str(language_model)))
    from safetensors.torch import load_file, save_file

    headless = tmp_path / "headless"
    headless.mkdir()
    settings = json.loads((adapter[0] / "adapter_config.json").read_text())
    (headless / "adapter_config.json").write_text(json.dumps({**settings, "modules_to_save": None}))
    tensors = load_file(adapter[0] / "adapter_model.safetensors")
    save_file({key: tensor for key, tensor in tensors.items() if "score" not in key}, headless / "adapter_model.safetensors")
    with pytest.raises(FormatError, match="would be random"):
        build(Options(checkpoint=str(headless)))


def test_what_is_no_decoder_with_one_score_is_refused(tmp_path: Path) -> None:
    several, encoder, empty = (tmp_path / name for name in ("several", "encoder", "empty"))
    transformers.LlamaForSequenceClassification(config(num_labels=3)).save_pretrained(several)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    bert = transformers.BertConfig(vocab_size=50, num_labels=1, **sizes)
    transformers.BertForSequenceClassification(bert).save_pretrained(encoder)
    empty.mkdir()
    for folder, message in ((several, "gives 3 numbers"), (encoder, "no decoder with a scoring head"), (empty, "neither config.json")):
        with pytest.raises(FormatError, match=message):
            build(Options(checkpoint=str(folder)))
    with pytest.raises(InputError, match="is no folder"):
        build(Options(checkpoint=str(tmp_path / "absent")))
    with pytest.raises(InputError, match="needs a checkpoint"):
        build(Options())
    with pytest.raises(InputError, match="batch counts from 1"):
        Options(batch=0)


def test_by_name_it_orders_by_the_logit_and_says_so(whole: Path) -> None:
    part = make(f"dear_pointwise/{whole}", station="rerankers")
    assert part.name == f"dear_pointwise/{whole}"
    ranking = part.rerank(Query(text="red door"), [Candidate(item=Item(item_id=text, text=text)) for text in TEXTS])
    logits = PairScores(ScoringDecoder.load(str(whole))).predict([("red door", text) for text in TEXTS])
    assert ranking.item_ids == tuple(TEXTS[n] for n in np.argsort(-logits))
    assert [c.raw_score for c in ranking.candidates] == pytest.approx(sorted(logits, reverse=True), abs=1e-4)
    assert [c.score for c in ranking.candidates] == [c.raw_score for c in ranking.candidates]  # no sigmoid
    assert (ranking.notes.status, ranking.notes.messages) == ("ok", ())
    padded = make(f"dear_pointwise/{whole}(read=padded)", station="rerankers")
    assert padded.name == f"dear_pointwise/{whole}(read='padded')"


def test_it_stands_in_a_cascade_with_a_depth_of_its_own(whole: Path) -> None:
    texts = [f"a red door number {n}" for n in range(12)]
    result = rerank("red door", texts, [f"dear_pointwise/{whole}(depth=10)", "bm25"], depth=4)
    first = result.search.stages[1]
    assert len(first.ranking.candidates) == 10
    assert len(first.beyond) == 2
    assert len(result.search.stages[2].ranking.candidates) == 4


def test_both_halves_of_dear_work_in_one_cascade_each_with_its_depth(whole: Path) -> None:
    texts = [f"a red door number {n}" for n in range(12)]
    names = [f"dear_pointwise/{whole}(depth=10)", "dear_listwise(depth=4)"]
    backend = FakeBackend(answer=lambda prompt: "[4] stands out. ### Final Reranking: [4] > [3] > [2] > [1]")
    result = rerank("red door", texts, names, backend=backend)
    pointwise, listwise = (stage.ranking for stage in result.search.stages[1:])
    assert len(pointwise.candidates) == 10
    assert listwise.item_ids == pointwise.item_ids[:4][::-1]
    assert (listwise.notes.status, len(backend.prompts)) == ("ok", 1)


def test_what_a_network_of_texts_cannot_see_is_told(whole: Path) -> None:
    part = build(Options(checkpoint=str(whole)))
    picture = InMemory(coloured(1))
    candidates = [Candidate(item=Item(item_id="bare", image=picture)), *(Candidate(item=Item(item_id=text, text=text)) for text in TEXTS)]
    query = Query(text="red door", images=(picture,), exclude_text=("blue",), exclude_images=(picture,))
    ranking = part.rerank(query, candidates)
    assert ranking.item_ids[-1] == "bare"
    assert ranking.notes.messages == (
        "bare: not shown to the model: it has no text",
        "the pictures of the query are not shown: the cross-encoder is shown texts",
        "what must not be there is not told to the cross-encoder: a pair has no place for it",
    )
    silent = part.rerank(Query(images=(picture,)), candidates)
    assert silent.notes.status == "fallback"
    assert silent.item_ids == ("bare", *TEXTS)
