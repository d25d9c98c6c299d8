"""Modules of languages and of ranking: the formulas written out, masks that come off bit for bit, and files of the released code."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from mmrerank.errors import FormatError, InputError, ShapeError
from mmrerank.models.language_modules import (
    Coupling,
    ModularEncoder,
    Route,
    Stack,
    largest,
    mask_of,
    parameters_of,
    read_module,
    save_mask,
    save_stack,
)

WIDTH, LAYERS = 16, 2


def bert() -> Any:
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    sizes = {"hidden_size": WIDTH, "num_hidden_layers": LAYERS, "num_attention_heads": 2, "intermediate_size": 32}
    return BertModel(BertConfig(vocab_size=40, initializer_range=0.4, **sizes)).eval()


def shaken(part: nn.Module, seed: int) -> Any:
    """Seeded weights, none at its beginning."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for weight in part.parameters():
            weight.copy_(0.3 * torch.randn_like(weight))
    return part.eval()


def modular(*languages: str, ranking: bool = True, coupled: bool = False) -> ModularEncoder:
    network = ModularEncoder(bert(), shaken(nn.Linear(WIDTH, 1), 9))
    for seed, language in enumerate(languages, 1):
        network.languages[language] = shaken(Stack(WIDTH, 4, LAYERS, coupled=coupled), seed)
    if ranking:
        network.ranking["ranking"] = shaken(Stack(WIDTH, 4, LAYERS), 7)
    return network.eval()


IDS = torch.tensor([[2, 11, 12, 3, 21, 22, 23, 3], [2, 13, 3, 24, 25, 3, 0, 0]])
ATTENTION = (IDS != 0).long()
TYPES = torch.tensor([[0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 0, 0]])


@torch.no_grad()
def scores(network: ModularEncoder, route: Route) -> Any:
    return network(IDS, ATTENTION, TYPES, route).numpy()


def test_the_stack_is_its_formula() -> None:
    network = modular("de")
    output = network.encoder.encoder.layer[1].output
    torch.manual_seed(3)
    hidden, z = torch.randn(1, 3, 32), torch.randn(1, 3, WIDTH)
    network._route, network._types = Route(query="de", document="de"), TYPES[:1, :3]
    language, ranking = network.languages["de"].layers[1], network.ranking["ranking"].layers[1]  # type: ignore[index, union-attr]

    def adapter(one: Any, x: Tensor) -> Tensor:
        return torch.relu(x @ one.down.weight.T + one.down.bias) @ one.up.weight.T + one.up.bias

    with torch.no_grad():
        x0 = hidden @ output.dense.weight.T + output.dense.bias
        x1 = adapter(language, output.LayerNorm(x0 + z)) + x0
        x2 = adapter(ranking, output.LayerNorm(x1 + z)) + x1
        torch.testing.assert_close(output(hidden, z), output.LayerNorm(x2 + z), atol=1e-5, rtol=0)


def test_new_adapters_change_nothing() -> None:
    network = ModularEncoder(bert(), shaken(nn.Linear(WIDTH, 1), 9)).eval()
    plain = scores(network, Route())
    network.languages["de"] = Stack(WIDTH, 4, LAYERS, coupled=True).eval()
    network.ranking["ranking"] = Stack(WIDTH, 4, LAYERS).eval()
    np.testing.assert_allclose(scores(network, Route(query="de", document="de", coupled=True)), plain, atol=1e-6)
    with torch.no_grad():
        pooled = bert()(input_ids=IDS, attention_mask=ATTENTION, token_type_ids=TYPES).pooler_output
        np.testing.assert_allclose(network.head(pooled)[:, 0], plain, atol=1e-6)


@pytest.mark.parametrize("reduction", [1, 2, 4, 8, 16, 32])
def test_adapters_have_as_many_weights_as_the_released_ones(reduction: int) -> None:
    inner = 768 // reduction
    assert parameters_of([Stack(768, inner, 12)]) == 12 * (2 * 768 * inner + inner + 768)


def test_the_coupling_has_as_many_weights_as_the_released_one_and_comes_back() -> None:
    assert parameters_of([Coupling(768)]) == 296_064
    coupling, x = shaken(Coupling(WIDTH), 4), torch.randn(2, 3, WIDTH)
    with torch.no_grad():
        torch.testing.assert_close(coupling.inverse(coupling(x)), x, atol=1e-5, rtol=0)
        assert not torch.allclose(coupling(x), x, atol=1e-2)


def test_another_language_another_score_and_no_module_none() -> None:
    network = modular("de", "fi")
    routes = [Route(query=one, document=one) for one in ("de", "fi", None)]
    results = [scores(network, route) for route in routes]
    assert all(np.abs(a - b).max() > 1e-4 for n, a in enumerate(results) for b in results[:n])
    for route, before in zip(routes, results, strict=True):
        np.testing.assert_array_equal(scores(network, route), before)  # whatever came between


def test_the_order_of_modules_matters() -> None:
    there, back = modular("de"), modular("de")
    back.languages["de"], back.ranking["ranking"] = back.ranking["ranking"], back.languages["de"]
    route = Route(query="de", document="de")
    assert np.abs(scores(there, route) - scores(back, route)).max() > 1e-4


def test_two_languages_split_at_the_document() -> None:
    network = modular("de", "fi")
    network._route, network._types = Route(query="de", document="fi"), TYPES
    x = torch.randn(2, 8, WIDTH)
    with torch.no_grad():
        added = network._language(0, x)
        alone = {name: network.languages[name].layers[0](x) for name in ("de", "fi")}  # type: ignore[index, union-attr]
    for row, column in np.ndindex(2, 8):
        torch.testing.assert_close(added[row, column], alone["de" if TYPES[row, column] == 0 else "fi"][row, column])
    same = scores(network, Route(query="de", document="de"))
    network.languages["copy"] = network.languages["de"]
    np.testing.assert_allclose(scores(network, Route(query="de", document="copy")), same, atol=1e-6)


def test_layers_can_be_left_out() -> None:
    network = modular("de")
    route = {"query": "de", "document": "de"}
    without = scores(modular(ranking=False), Route())
    np.testing.assert_allclose(scores(network, Route(**route, first=LAYERS)), without, atol=1e-6)
    assert np.abs(scores(network, Route(**route, first=1)) - scores(network, Route(**route))).max() > 1e-4


def test_a_language_without_a_module_is_refused() -> None:
    with pytest.raises(InputError, match="no module of the language 'sw'"):
        scores(modular("de"), Route(query="sw"))


# ---------------------------------------------------------------------- masks


def mask(seed: int, count: int = 30) -> Any:
    """Of random places of two weights."""
    weights = dict(bert().named_parameters())
    torch.manual_seed(seed)
    names = ["encoder.layer.0.output.dense.weight", "encoder.layer.1.attention.self.query.bias"]
    places = {name: torch.randperm(weights[name].numel())[:count].sort().values for name in names}
    return {name: (one, 0.3 * torch.randn(len(one))) for name, one in places.items()}


def test_masks_are_added_and_come_off_bit_for_bit() -> None:
    network = modular(ranking=False)
    before = {name: weight.clone() for name, weight in network.encoder.named_parameters()}
    plain = scores(network, Route())
    network.add_mask(mask(1), language="de")
    network.add_mask(mask(2), language="fi")
    network.add_mask(mask(3))
    seen = [scores(network, Route(query=one, document=one)) for one in ("de", "fi", "de")]
    np.testing.assert_array_equal(seen[0], seen[2])
    assert np.abs(seen[0] - seen[1]).max() > 1e-4
    np.testing.assert_array_equal(scores(network, Route(ranked=False)), plain)
    for name, weight in network.encoder.named_parameters():
        assert torch.equal(weight, before[name]), name


def test_masks_add_up_in_any_order() -> None:
    network = modular(ranking=False)
    network.add_mask(mask(1), language="de")
    network.add_mask(mask(2), language="fi")
    there, back = (scores(network, Route(query=a, document=b)) for a, b in (("de", "fi"), ("fi", "de")))
    np.testing.assert_allclose(there, back, atol=1e-5)


def test_a_mask_is_the_difference_of_two_networks(tmp_path: Path) -> None:
    before = {name: weight.detach().clone() for name, weight in bert().named_parameters()}
    after = {name: weight.clone() for name, weight in before.items()}
    for name, (places, values) in mask(5).items():
        after[name].view(-1).index_add_(0, places, values)
    save_mask(mask_of(before, after), tmp_path)
    network = modular(ranking=False)
    read_module(tmp_path, network, language="de")
    network._add(Route(document="de"))
    for name, weight in network.encoder.named_parameters():
        torch.testing.assert_close(weight.detach(), after[name], atol=1e-6, rtol=0)


def test_the_ticket_is_what_moved_the_farthest() -> None:
    before = {"a": torch.zeros(2, 3), "b": torch.zeros(4)}
    after = {"a": torch.tensor([[0.0, 5, -6], [0, 0.1, 0]]), "b": torch.tensor([7.0, 0, 0, -0.2])}
    chosen = largest(before, after, 3)
    assert chosen["a"].tolist() == [[False, True, True], [False, False, False]]
    assert chosen["b"].tolist() == [True, False, False, False]
    assert all(one.all() for one in largest(before, after, 99).values())


def test_a_mask_of_another_network_is_refused() -> None:
    with pytest.raises(ShapeError, match="another network"):
        modular().add_mask({"encoder.layer.7.output.dense.weight": (torch.tensor([0]), torch.ones(1))})
    with pytest.raises(ShapeError, match="another network"):
        modular().add_mask({"encoder.layer.1.attention.self.query.bias": (torch.tensor([WIDTH]), torch.ones(1))})


# ---------------------------------------------------------------------- files of the released code


def test_a_sparse_difference_of_the_released_code_is_read(tmp_path: Path) -> None:
    """Steps between places that count the first axis fastest, under `body`, with the names of a network that has a head."""
    dense = torch.zeros(WIDTH, 32)
    dense[3, 1], dense[0, 2], dense[15, 31] = 0.5, -2.0, 1.25
    places = np.sort([row + WIDTH * column for row, column in ((3, 1), (0, 2), (15, 31))])
    values = torch.tensor([float(dense[place % WIDTH, place // WIDTH]) for place in places])
    steps = torch.tensor(np.diff(places, prepend=0))
    name = "bert.encoder.layer.0.output.dense.weight"
    torch.save(
        {"body": {name: {"size": list(dense.shape), "index_steps": steps, "values": values}}, "head": {}}, tmp_path / "pytorch_diff.bin"
    )
    network = modular(ranking=False)
    before = network.encoder.encoder.layer[0].output.dense.weight.detach().clone()
    read_module(tmp_path, network, language="de")
    network._add(Route(query="de"))
    torch.testing.assert_close(network.encoder.encoder.layer[0].output.dense.weight.detach(), before + dense, atol=1e-6, rtol=0)


def test_a_sparse_tensor_of_the_released_code_is_read(tmp_path: Path) -> None:
    dense = torch.zeros(WIDTH)
    dense[3] = 0.5
    torch.save({"diffs": {"bert.encoder.layer.1.attention.self.query.bias": dense.to_sparse().coalesce()}}, tmp_path / "pytorch_diff.bin")
    network = modular(ranking=False)
    read_module(tmp_path, network)
    assert network.ranking_mask["encoder.layer.1.attention.self.query.bias"][0].tolist() == [3]


def test_adapters_of_the_released_code_are_read(tmp_path: Path) -> None:
    """Under the names of the adapter library, with the coupling of a language and the head of a ranking."""
    ours, coupling = shaken(Stack(WIDTH, 4, LAYERS), 5), shaken(Coupling(WIDTH), 6)
    tensors = {f"bert.invertible_adapters.mlm_adapter.{name}": value for name, value in coupling.state_dict().items()}
    for name, value in ours.state_dict().items():
        _, place, side, kind = name.split(".")
        last = "adapter_down.0" if side == "down" else "adapter_up"
        tensors[f"bert.encoder.layer.{place}.output.adapters.mlm_adapter.{last}.{kind}"] = value
    (tmp_path / "de").mkdir()
    (tmp_path / "retrieval").mkdir()
    torch.save(tensors, tmp_path / "de" / "pytorch_adapter.bin")
    plain = {name: value for name, value in tensors.items() if "invertible" not in name}
    torch.save(plain, tmp_path / "retrieval" / "pytorch_adapter.bin")
    head = shaken(nn.Linear(WIDTH, 1), 8)
    torch.save(
        {f"heads.retrieval.1.{name}": value for name, value in head.state_dict().items()}, tmp_path / "retrieval" / "pytorch_model_head.bin"
    )
    network = ModularEncoder(bert(), nn.Linear(WIDTH, 1)).eval()
    read_module(tmp_path / "de", network, language="de")
    read_module(tmp_path / "retrieval", network)
    for part in (network.languages["de"], network.ranking["ranking"]):
        for name, value in ours.state_dict().items():
            assert torch.equal(part.state_dict()[name], value), name
    assert torch.equal(network.head.weight, head.weight)
    x = torch.randn(1, 2, WIDTH)
    with torch.no_grad():
        assert torch.equal(network.languages["de"].coupling(x), coupling(x))  # type: ignore[operator, union-attr]


def test_what_was_saved_is_the_same_again(tmp_path: Path) -> None:
    made = modular("de", coupled=True)
    save_stack(made.languages["de"], tmp_path / "de")  # type: ignore[arg-type]
    save_stack(made.ranking["ranking"], tmp_path / "ranking", head=made.head)  # type: ignore[arg-type]
    again = ModularEncoder(bert(), nn.Linear(WIDTH, 1)).eval()
    read_module(tmp_path / "de", again, language="de")
    read_module(tmp_path / "ranking", again)
    for coupled in (False, True):
        route = Route(query="de", document="de", coupled=coupled)
        np.testing.assert_array_equal(scores(again, route), scores(made, route))


def test_what_is_no_module_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FormatError, match="neither adapters"):
        read_module(tmp_path, modular())
    save_stack(Stack(WIDTH, 4, LAYERS + 1), tmp_path)
    with pytest.raises(FormatError, match=f"expected adapters in {LAYERS} layers"):
        read_module(tmp_path, modular())


def test_nothing_but_tensors_is_unpickled(tmp_path: Path) -> None:
    class Harm:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "harmed",))

    torch.save({"body": Harm()}, tmp_path / "pytorch_diff.bin")
    with pytest.raises(FormatError, match="no module for this network"):
        read_module(tmp_path, modular())
    assert not (tmp_path / "harmed").exists()
