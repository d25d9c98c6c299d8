"""What `local` loads and what it refuses: adapters, GGUF files, heads, code of others, memory that runs out."""

from __future__ import annotations

import importlib.util
import json
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from makers import picture
from safetensors.torch import load_file, save_file
from tiny_models import saved

from mmrerank.backends import _checkpoint
from mmrerank.backends._budget import TokenBudget
from mmrerank.backends._tiny import save_tiny
from mmrerank.backends.local import Local, Options, build
from mmrerank.errors import BackendError, FormatError, InputError, MissingExtra
from mmrerank.types import Array, Decoding, Message, Prompt

CHOICES = ("Yes", "No", "Yes, surely")
PROMPTS: tuple[Prompt, ...] = tuple((Message(role="user", parts=("a question " * n,)),) for n in (1, 9, 3, 5))


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("models")


@pytest.fixture(scope="module")
def qwen3(models: Path) -> Path:
    return saved(models, "qwen3")


def made(folder: Path, **options: Any) -> Local:
    return build(Options(model=str(folder), device="cpu", **options))


def scores(backend: Local) -> Array:
    return backend.choice_logprobs(PROMPTS, CHOICES).logprobs


def changed(folder: Path, place: Path, change: Callable[[dict[str, torch.Tensor]], Any]) -> Path:
    shutil.copytree(folder, place)
    weights = load_file(place / "model.safetensors")
    change(weights)
    save_file(weights, place / "model.safetensors", metadata={"format": "pt"})
    return place


def reconfigured(folder: Path, place: Path, **settings: Any) -> Path:
    shutil.copytree(folder, place)
    file = place / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    return place


# ---------------------------------------------------------------------- adapters


def save_adapter(base: Path, place: Path, *, sees: bool = False, **more: Any) -> Any:
    """A LoRA with weights that are not zero, over a tiny model; what peft makes of both."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoModelForImageTextToText

    kind = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    network = kind.from_pretrained(base, local_files_only=True, dtype=torch.float32)
    torch.manual_seed(3)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": ["q_proj", "up_proj"], "init_lora_weights": False, "task_type": "CAUSAL_LM"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # peft 0.21 asks transformers 5.24 by a name that is to go
        model = get_peft_model(network, LoraConfig(**{**settings, **more}))
    model.save_pretrained(place)
    return model.eval()


@pytest.fixture(scope="module")
def adapter(qwen3: Path, models: Path) -> Path:
    save_adapter(qwen3, models / "adapter")
    return models / "adapter"


def test_a_merged_adapter_says_what_peft_says(qwen3: Path, models: Path, tmp_path: Path) -> None:
    model = save_adapter(qwen3, tmp_path / "adapter")
    backend = made(tmp_path / "adapter")
    ids = torch.tensor([backend._prepare._tokens(backend._prepare.text(PROMPTS[1]))])
    with torch.inference_mode():
        logits = model(input_ids=ids).logits[0, -1].log_softmax(-1)
    columns = [backend._prepare.ids_of(choice)[0] for choice in CHOICES[:2]]
    assert np.abs(scores(backend)[1, :2] - logits[columns].numpy()).max() < 1e-4
    assert np.abs(scores(backend) - scores(made(qwen3))).max() > 1e-2, "the adapter moves the answers, so the comparison can fail"


def test_an_adapter_over_a_model_that_sees_takes_the_processor_of_its_base(models: Path, tmp_path: Path) -> None:
    """MonoQwen2-VL is such a one, without processor files of its own."""
    base = saved(models, "qwen2_vl")
    model = save_adapter(base, tmp_path / "adapter", sees=True, target_modules=["q_proj", "v_proj"])
    backend, plain = made(tmp_path / "adapter"), made(base)
    prompt = (Message(role="user", parts=(picture(1, size=(60, 40)), "is it relevant?")),)
    with torch.inference_mode():
        logits = model(**backend._prepare([prompt]).inputs).logits[0, -1].log_softmax(-1)
    columns = [backend._prepare.ids_of(choice)[0] for choice in CHOICES[:2]]
    merged, bare = (one.choice_logprobs([prompt], CHOICES[:2]).logprobs[0] for one in (backend, plain))
    assert np.abs(merged - logits[columns].numpy()).max() < 1e-4
    assert np.abs(merged - bare).max() > 1e-2, "the adapter moves the answers, so the comparison can fail"


def test_the_base_can_be_named_and_is_part_of_the_hash(qwen3: Path, adapter: Path, models: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved"
    shutil.copytree(adapter, moved)
    file = moved / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "base_model_name_or_path": str(tmp_path / "gone")}))
    with pytest.raises(FormatError, match="base of the adapter") as refusal:
        made(moved)
    assert "base=" in refusal.value.hint
    save_tiny(tmp_path / "other", "qwen3", seed=1)
    named, other = made(moved, base=str(qwen3)), made(moved, base=str(tmp_path / "other"))
    assert np.array_equal(scores(named), scores(made(adapter)))
    assert len({named.weights_hash, other.weights_hash, made(qwen3).weights_hash, ""}) == 4


def test_an_adapter_that_does_not_fit_or_is_not_whole_is_refused(adapter: Path, models: Path, tmp_path: Path) -> None:
    lacking = tmp_path / "lacking"
    shutil.copytree(adapter, lacking)
    weights = load_file(lacking / "adapter_model.safetensors")
    weights.pop(sorted(weights)[0])
    save_file(weights, lacking / "adapter_model.safetensors", metadata={"format": "pt"})
    with pytest.raises(FormatError, match="lacks"):
        made(lacking)
    with pytest.raises(FormatError, match="adapter"):
        made(adapter, base=str(saved(models, "gpt2")))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"task_type": "SEQ_CLS"}, "SEQ_CLS"), ({"modules_to_save": ["score"]}, "score"), ({"peft_type": "PREFIX_TUNING"}, "PREFIX_TUNING")],
)
def test_an_adapter_with_a_head_of_its_own_is_refused(adapter: Path, tmp_path: Path, settings: dict[str, Any], message: str) -> None:
    place = tmp_path / "adapter"
    shutil.copytree(adapter, place)
    file = place / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **settings}))
    with pytest.raises(FormatError, match=message) as refusal:
        made(place)
    assert "cross_encoder/" in refusal.value.hint or "LoRA" in str(refusal.value)


# ---------------------------------------------------------------------- heads


def test_a_classifier_is_refused_with_the_part_that_reads_it(models: Path) -> None:
    with pytest.raises(FormatError, match="Qwen3ForSequenceClassification") as refusal:
        made(saved(models, "qwen3_classifier"))
    assert "cross_encoder/" in refusal.value.hint


def test_an_extra_head_is_refused_with_the_part_that_reads_it(models: Path, tmp_path: Path) -> None:
    """jina-reranker-m0 is such a checkpoint: a generic loader leaves its head aside and ranks by noise."""
    head = {"score.0.weight": torch.ones(32, 32), "score.2.weight": torch.ones(1, 32)}
    place = changed(saved(models, "qwen2_vl"), tmp_path / "scored", lambda weights: weights.update(head))
    with pytest.raises(FormatError, match="unexpected keys") as refusal:
        made(place)
    assert "cross_encoder/" in refusal.value.hint


def test_a_model_without_its_head_shows_states_and_gives_no_answers(models: Path) -> None:
    backend = made(saved(models, "qwen3_headless"))
    assert backend.embed(PROMPTS).shape == (len(PROMPTS), 32)
    for ask in (backend.generate, lambda prompts: backend.choice_logprobs(prompts, CHOICES)):
        with pytest.raises(InputError, match=r"without a head .Qwen3Model.*sentence/"):
            ask(PROMPTS)


def test_a_lost_head_gives_no_answers(qwen3: Path, tmp_path: Path) -> None:
    backend = made(changed(qwen3, tmp_path / "lost", lambda weights: weights.pop("lm_head.weight")))
    with pytest.raises(InputError, match="noise"):
        backend.generate(PROMPTS)


def test_a_lost_weight_beside_a_lost_head_is_refused(models: Path, tmp_path: Path) -> None:
    def lose(weights: dict[str, torch.Tensor]) -> None:
        weights.pop(next(name for name in weights if "up_proj" in name))

    with pytest.raises(FormatError, match="missing keys"):
        made(changed(saved(models, "qwen3_headless"), tmp_path / "lost", lose))


@pytest.mark.parametrize(("kind", "part"), [("SentenceTransformer", "sentence/"), ("CrossEncoder", "cross_encoder/")])
def test_a_folder_whose_states_are_pooled_gives_no_answers(qwen3: Path, tmp_path: Path, kind: str, part: str) -> None:
    place = reconfigured(qwen3, tmp_path / "pooled")
    types = ("sentence_transformers.base.modules.Transformer", "sentence_transformers.sentence_transformer.modules.Pooling")
    (place / "modules.json").write_text(json.dumps([{"idx": n, "name": str(n), "type": one} for n, one in enumerate(types)]))
    (place / "config_sentence_transformers.json").write_text(json.dumps({"model_type": kind}))
    backend = made(place)
    assert np.array_equal(backend.embed(PROMPTS), made(qwen3).embed(PROMPTS))
    with pytest.raises(InputError, match="pools its states") as refusal:
        backend.choice_logprobs(PROMPTS, CHOICES)
    assert part in str(refusal.value)


def test_tied_heads_that_were_saved_so_are_no_lost_ones(models: Path) -> None:
    assert np.isfinite(scores(made(saved(models, "gpt2")))).all()


# ---------------------------------------------------------------------- files of other kinds


def test_python_files_of_a_checkpoint_are_run_by_the_flag_only(qwen3: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("transformers.dynamic_module_utils.HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.syspath_prepend(str(tmp_path / "modules"))
    own = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    place = reconfigured(qwen3, tmp_path / "own_code", model_type="nobodys", auto_map=own, architectures=["OwnModel"])
    (place / "own.py").write_text(
        "from transformers import Qwen3Config, Qwen3ForCausalLM\n"
        "class OwnConfig(Qwen3Config):\n    model_type = 'nobodys'\n"
        "class OwnModel(Qwen3ForCausalLM):\n    config_class = OwnConfig\n"
    )
    with pytest.raises(FormatError, match="not run unasked") as refusal:
        made(place)
    assert "remote_code=True" in refusal.value.hint
    trusted = made(place, remote_code=True)
    assert np.abs(scores(trusted) - scores(made(qwen3))).max() < 1e-5
    assert "remote_code=True" in trusted.name


def write_gguf(model: Any, tokenizer: Any, file: Path) -> None:
    """A tiny Llama as a GGUF file of float32, with its tokenizer."""
    gguf = pytest.importorskip("gguf", reason="GGUF files are written by the package gguf")
    config, writer = model.config, gguf.GGUFWriter(str(file), "llama")
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(10_000.0)
    writer.add_vocab_size(config.vocab_size)
    tokens = tokenizer.convert_ids_to_tokens(list(range(len(tokenizer))))
    merges = json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"]
    special = set(tokenizer.all_special_ids) | {n for n, t in tokenizer.added_tokens_decoder.items() if t.special}
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([gguf.TokenType.CONTROL if n in special else gguf.TokenType.NORMAL for n in range(len(tokens))])
    writer.add_token_merges([merge if isinstance(merge, str) else " ".join(merge) for merge in merges])
    writer.add_eos_token_id(tokenizer.eos_token_id)
    writer.add_bos_token_id(tokenizer.eos_token_id)
    writer.add_add_bos_token(False)
    writer.add_chat_template(tokenizer.chat_template)
    for name, value in model.state_dict().items():
        writer.add_tensor(_gguf_name(name), _permuted(name, value, config).contiguous().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _permuted(name: str, value: torch.Tensor, config: Any) -> torch.Tensor:
    """Rows of queries and keys as GGUF has them, halves of each head interleaved."""
    for part, heads in (("q_proj", config.num_attention_heads), ("k_proj", config.num_key_value_heads)):
        if part in name:
            return value.reshape(heads, 2, value.shape[0] // heads // 2, *value.shape[1:]).swapaxes(1, 2).reshape(value.shape)
    return value


def _gguf_name(name: str) -> str:
    names = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output", "self_attn.q_proj": "attn_q"}
    names |= {"self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "mlp.gate_proj": "ffn_gate"}
    names |= {"mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "post_attention_layernorm": "ffn_norm", "input_layernorm": "attn_norm"}
    for ours, theirs in {**names, "model.layers.": "blk."}.items():
        name = name.replace(ours, theirs)
    return name


def test_a_gguf_file_says_what_the_folder_says(models: Path, tmp_path: Path) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = saved(models, "llama")
    model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, dtype=torch.float32)
    write_gguf(model, AutoTokenizer.from_pretrained(folder, local_files_only=True), tmp_path / "tiny.gguf")
    backend, plain = made(tmp_path / "tiny.gguf"), made(folder)
    raw = [(Message(role="raw", parts=("a question and a page",)),)]
    assert backend._prepare.text(PROMPTS[0]) == plain._prepare.text(PROMPTS[0])
    assert np.abs(backend.choice_logprobs(raw, ("Yes", "No")).logprobs - plain.choice_logprobs(raw, ("Yes", "No")).logprobs).max() < 1e-4
    with pytest.raises(FormatError, match=r"GGUF files here: tiny\.gguf"):
        made(tmp_path / "other.gguf")
    with pytest.raises(FormatError, match=r"name one of the GGUF files: tiny\.gguf"):
        made(tmp_path)


def test_a_model_that_sees_needs_its_processor(models: Path, tmp_path: Path) -> None:
    place = tmp_path / "blind"
    shutil.copytree(saved(models, "qwen2_vl"), place)
    for file in place.glob("*processor*"):
        file.unlink()
    with pytest.raises(FormatError, match=r"no processor|processor|can be loaded"):
        made(place)


def test_weights_that_are_quantised_name_the_library_that_they_need(qwen3: Path, tmp_path: Path) -> None:
    if importlib.util.find_spec("compressed_tensors") is not None:
        pytest.skip("compressed-tensors is installed, so that nothing is missing")
    settings = {"quant_method": "compressed-tensors", "format": "int-quantized", "config_groups": {}}
    with pytest.raises(MissingExtra, match="compressed"):
        made(reconfigured(qwen3, tmp_path / "quantised", quantization_config=settings))


def test_half_precision_has_a_float32_head(qwen3: Path) -> None:
    backend = made(qwen3, precision="bf16")
    inputs = backend._prepare([PROMPTS[1]]).inputs
    with torch.inference_mode():
        logits = backend._network.logits(inputs)[0, -1]
        state = backend._model.model(**inputs).last_hidden_state[0, -1].float()
        rounded = backend._model(**inputs, logits_to_keep=1).logits[0, -1]
        expected = state @ backend._model.lm_head.weight.float().T
    assert logits.dtype == torch.float32
    assert (logits - expected).abs().max() < 1e-6
    assert (rounded.float() - expected).abs().max() > 1e-5, "rounded logits differ, so the comparison can fail"
    assert rounded.dtype == torch.bfloat16, "the head is as it was behind the pass"


def test_a_model_spread_by_accelerate_says_the_same(qwen3: Path) -> None:
    pytest.importorskip("accelerate", reason="models are spread by accelerate")
    backend = build(Options(model=str(qwen3), device="spread"))
    assert np.abs(scores(backend) - scores(made(qwen3))).max() < 1e-4
    assert backend.name == made(qwen3).name, "where a model runs is no part of its name"


@pytest.fixture
def on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """No device holds a weight: accelerate fetches each for every pass."""
    pytest.importorskip("accelerate", reason="models are spread by accelerate")
    monkeypatch.setattr(_checkpoint, "_placement", lambda *_, **__: {"device_map": "auto", "max_memory": {"cpu": 1}})


@pytest.mark.usefixtures("on_disk")
@pytest.mark.parametrize(("architecture", "precision"), [("qwen3", "fp32"), ("qwen3", "bf16"), ("qwen2_5_vl", "fp32")])
def test_weights_that_fit_no_device_are_fetched_from_disk(
    models: Path, precision: str, architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, tolerance = saved(models, architecture), 1e-4 if precision == "fp32" else 5e-3
    spread, bare = (build(Options(model=str(folder), device="spread", precision=precision, prefix_bytes=room)) for room in (1 << 30, 0))
    assert next(spread.network.parameters()).device.type == "meta"
    monkeypatch.undo()
    whole = made(folder, precision=precision)
    longer = [(Message(role="user", parts=("a question " * n + "and what it asks",)),) for n in (1, 9, 3, 5)]
    for prompts in (PROMPTS, longer):
        scored = spread.choice_logprobs(prompts, CHOICES)
        expected = whole.choice_logprobs(prompts, CHOICES).logprobs
        assert np.abs(scored.logprobs - expected).max() < tolerance
        assert np.abs(bare.choice_logprobs(prompts, CHOICES).logprobs - expected).max() < tolerance
    assert scored.cost.reused_tokens, "keys and values are used again, the weights wherever they are"
    short = Decoding(max_tokens=2)
    assert spread.generate(PROMPTS[:1], short)[0].text == whole.generate(PROMPTS[:1], short)[0].text


@pytest.mark.usefixtures("on_disk")
def test_an_adapter_is_not_merged_into_weights_on_disk(adapter: Path) -> None:
    with pytest.raises(FormatError, match="in memory"):
        build(Options(model=str(adapter), device="spread"))


def test_what_does_not_fit_one_gpu_is_spread(monkeypatch: pytest.MonkeyPatch, qwen3: Path) -> None:
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(qwen3, local_files_only=True)
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    for free, placement in ((1 << 30, {}), (1 << 10, {"device_map": "auto"})):
        monkeypatch.setattr("torch.cuda.mem_get_info", lambda device, free=free: (free, free))
        assert _checkpoint._placement(AutoModelForCausalLM, config, torch.float32, "auto", trusted=False) == placement
        assert _checkpoint._placement(AutoModelForCausalLM, config, torch.float32, "cuda:0", trusted=False) == {}


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_ways_to_attend_agree(qwen3: Path, attention: str) -> None:
    backend = made(qwen3, attention=attention)
    assert backend._model.config._attn_implementation == attention
    assert np.abs(scores(backend) - scores(made(qwen3))).max() < 1e-4
    assert attention in backend.name


# ---------------------------------------------------------------------- memory


class Short:
    """A model that runs out of memory beyond so many tokens of a batch, as a device does."""

    def __init__(self, backend: Local, most: int, error: RuntimeError) -> None:
        self.shapes: list[tuple[int, int]] = []
        self._step, self._most, self._error = backend._network.step, most, error

    def step(self, inputs: Any, **more: Any) -> Any:
        self.shapes.append(tuple(inputs["input_ids"].shape))
        if inputs["input_ids"].numel() > self._most:
            raise self._error
        return self._step(inputs, **more)


CPU = RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes.")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), CPU])
def test_batches_halve_when_memory_runs_out_and_stay_so(qwen3: Path, monkeypatch: pytest.MonkeyPatch, error: RuntimeError) -> None:
    backend = made(qwen3, prefix_bytes=0)  # what is kept would make the passes small
    prompts = [(Message(role="user", parts=(f"{n} " + "word " * (n % 5),)),) for n in range(20)]
    expected = backend.choice_logprobs(prompts, CHOICES[:2]).logprobs
    short = Short(backend, 150, error)
    monkeypatch.setattr(backend._network, "step", short.step)
    assert np.abs(backend.choice_logprobs(prompts, CHOICES[:2]).logprobs - expected).max() < 1e-4
    assert any(rows * width > 150 for rows, width in short.shapes), "it did run out"
    short.shapes.clear()
    backend.choice_logprobs(prompts, CHOICES[:2])
    assert all(rows * width <= 150 for rows, width in short.shapes), "the smaller budget is remembered"
    monkeypatch.setattr(backend._network, "step", Short(backend, 5, error).step)
    with pytest.raises(BackendError, match="not enough memory for one prompt"):
        backend.choice_logprobs(prompts, CHOICES[:2])


def test_other_failures_are_not_taken_for_memory() -> None:
    def fails(positions: list[int]) -> None:
        raise RuntimeError("a kernel is missing")

    with pytest.raises(RuntimeError, match="kernel"):
        TokenBudget("x", 100).run([1, 2], 2, fails)


def test_one_long_prompt_stands_alone_behind_the_others(qwen3: Path) -> None:
    assert TokenBudget("x", 100).batches([10, 900, 12, 11, 9], 64) == [[4, 0, 3, 2], [1]]


def test_a_long_document_does_not_change_the_others(qwen3: Path) -> None:
    backend = made(qwen3)
    long: Prompt = (Message(role="user", parts=("a long document " * 250,)),)
    beside = backend.choice_logprobs([PROMPTS[0], long, *PROMPTS[1:]], CHOICES).logprobs
    assert np.abs(beside[[0, 2, 3, 4]] - scores(backend)).max() < 1e-5


def test_what_a_name_pins_is_printed(qwen3: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch moves on: the printed name holds the commit that it was."""
    from dataclasses import replace

    from mmrerank.backends import local

    def loaded(source: Any, *rest: Any) -> Any:
        return replace(load(replace(source, name=str(qwen3)), *rest), commit="a1b2c3")

    load = local.load
    monkeypatch.setattr(local, "load", loaded)
    backend = build(Options(model="some/name", device="cpu"))
    assert backend.name == "local/some/name(revision='a1b2c3')"
    assert backend.generate(PROMPTS[:1], Decoding(max_tokens=1))[0].cost.calls == 1
