"""Adapters into one: stacked exactly, cut optimally, and PEFT loads what is written."""

import json

import pytest
import torch
from safetensors import safe_open
from transformers import LlamaForCausalLM

from hf_compress._errors import CompressionError
from hf_compress.checkpoints.source import open_source
from hf_compress.merging.lora.adapter import Adapter
from hf_compress.merging.lora.combine import merge_adapters
from hf_compress.merging.lora.source import AdaptedSource
from tests import tiny
from tests.merging.adapters import logits_with, make_adapter, save
from tests.merging.lora.test_source import pair, write

ROUNDED = {"rtol": 1e-5, "atol": 1e-6}  # fp32 sums of a few products in another order


@pytest.fixture
def two(tmp_path):
    model = tiny.tiny_llama()
    save(model, tmp_path / "base")
    settings = [
        {"r": 4, "lora_alpha": 6, "target_modules": ["q_proj", "v_proj"], "rank_pattern": {"layers.1.self_attn.v_proj": 2}},
        {"r": 3, "lora_alpha": 5, "target_modules": ["v_proj", "down_proj", "embed_tokens"], "use_rslora": True},
    ]
    return [make_adapter(model, tmp_path / f"{i}", seed=i, base_name="base", **item) for i, item in enumerate(settings)]


def changes(folder):
    """Module -> the full change, from the file alone."""
    adapter = Adapter(folder)
    found = {}
    for name, layer in adapter.layers.items():
        b, a = adapter.factors(layer)
        found[name] = layer.scale * (b.double() @ a.double())
    return found


def weighted_sum(folders, weights):
    total = {}
    for folder, weight in zip(folders, weights, strict=True):
        for name, change in changes(folder).items():
            total[name] = total.get(name, 0) + weight * change
    return total


def test_stacking_is_the_weighted_sum_and_ranks_add_up(two, tmp_path):
    result = merge_adapters(two, tmp_path / "out", weights=[0.75, -0.5])
    wanted, got = weighted_sum(two, [0.75, -0.5]), changes(tmp_path / "out")
    assert set(got) == set(wanted)
    for name, change in wanted.items():
        torch.testing.assert_close(got[name], change, **ROUNDED)
        assert result.layers[name].norm == pytest.approx(float(change.norm()), rel=1e-5)
    ranks = {name.removeprefix("model.layers."): layer.rank for name, layer in result.layers.items()}
    assert ranks["0.self_attn.v_proj"] == 7
    assert ranks["1.self_attn.v_proj"] == 5
    assert ranks["0.mlp.down_proj"] == 3
    assert result.error == 0


def test_hand_computed_sum(tmp_path):
    """2 * (alpha 4 / rank 4) * ones(2, 4) @ ones(4, 2) + 1 * (8 / 4) * the same = 2 * 4 + 2 * 4 = 16 everywhere."""
    factors = {f"x.{name}": tensor for name, tensor in pair(2, 2).items()}
    folders = [write(tmp_path / "a", factors, lora_alpha=4), write(tmp_path / "b", factors, lora_alpha=8)]
    merge_adapters(folders, tmp_path / "out", weights=[2, 1])
    assert changes(tmp_path / "out")["x"].tolist() == [[16, 16], [16, 16]]


@pytest.mark.parametrize("rank", [1, 3, 5])
def test_cutting_to_a_rank_has_the_smallest_possible_error(rank, two, tmp_path):
    result = merge_adapters(two, tmp_path / "out", rank=rank)
    wanted, got = weighted_sum(two, [1, 1]), changes(tmp_path / "out")
    lost = total = 0.0
    for name, change in wanted.items():
        tail = float(torch.linalg.svdvals(change)[rank:].square().sum())  # the full matrix, which the code never forms
        measured = float((got[name] - change).norm())
        norm = float(change.norm())
        # The tail of a layer that fits into the rank is 0, and what is measured then is rounding of fp32 factors.
        assert measured == pytest.approx(tail**0.5, abs=1e-6 * norm)
        assert result.layers[name].error == pytest.approx(tail**0.5 / norm, abs=1e-6)
        lost, total = lost + tail, total + norm**2
    assert result.error == pytest.approx((lost / total) ** 0.5, abs=1e-6)
    assert max(layer.rank for layer in result.layers.values()) == rank


def test_energy_keeps_as_much_as_it_says_and_not_one_rank_more(two, tmp_path):
    result = merge_adapters(two, tmp_path / "out", energy=0.8)
    for name, change in weighted_sum(two, [1, 1]).items():
        shares = torch.linalg.svdvals(change).square().cumsum(0) / change.square().sum()
        assert result.layers[name].rank == int((shares < 0.8).sum()) + 1
        assert result.layers[name].error <= 0.2**0.5 + 1e-6


@pytest.mark.parametrize("rank", [None, 3])
def test_peft_loads_the_result_and_computes_what_our_source_computes(rank, two, tmp_path):
    merge_adapters(two, tmp_path / "out", weights=[0.5, 0.5], rank=rank)
    tokens = torch.arange(12).reshape(2, 6)
    theirs = logits_with(LlamaForCausalLM, tmp_path / "base", tmp_path / "out", tokens)
    source = AdaptedSource(open_source(tmp_path / "base", "base"), Adapter(tmp_path / "out"))
    model = LlamaForCausalLM.from_pretrained(tmp_path / "base").eval()
    model.load_state_dict({name: source.read(name) for name in source.infos})
    with torch.no_grad():
        torch.testing.assert_close(model(tokens).logits, theirs, **ROUNDED)


def test_the_bias_of_factors_adds_up_and_peft_takes_it(tmp_path):
    model = tiny.tiny_vit()
    save(model, tmp_path / "base")
    first = make_adapter(model, tmp_path / "a", seed=1, target_modules=["q_proj"], lora_bias=True)
    second = make_adapter(model, tmp_path / "b", seed=2, target_modules=["q_proj", "v_proj"])
    merge_adapters([first, second], tmp_path / "out", weights=[0.5, 2])
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    merged = AdaptedSource(open_source(tmp_path / "base", "base"), Adapter(tmp_path / "out"))
    name = "vit.encoder.layer.0.attention.attention.query.bias"
    one = Adapter(first)
    layer = one.layers["vit.layers.0.attention.q_proj"]
    wanted = merged.source.read(name) + 0.5 * layer.scale * one.read_role(layer, "bias")
    torch.testing.assert_close(merged.read(name), wanted, **ROUNDED)
    assert torch.isfinite(logits_with(type(model), tmp_path / "base", tmp_path / "out", images)).all()


def test_whole_tensors_must_agree_or_be_chosen(tmp_path):
    model = tiny.tiny_vit()
    settings = {"target_modules": ["q_proj"], "modules_to_save": ["classifier"]}
    folders = [make_adapter(model, tmp_path / name, seed=seed, **settings) for seed, name in enumerate("ab")]
    with pytest.raises(CompressionError, match="classifier.bias is saved whole and differs"):
        merge_adapters(folders, tmp_path / "out")
    merge_adapters(folders, tmp_path / "out", whole_from=1)
    kept, chosen = Adapter(tmp_path / "out"), Adapter(folders[1])
    assert torch.equal(kept.read(kept.whole["classifier.weight"]), chosen.read(chosen.whole["classifier.weight"]))
    assert kept.config["modules_to_save"] == ["classifier"]


def test_a_choice_without_whole_tensors_gives_an_adapter_that_peft_loads(tmp_path):
    model = tiny.tiny_vit()
    base = save(model, tmp_path / "base")
    with_head = make_adapter(model, tmp_path / "a", target_modules=["q_proj"], modules_to_save=["classifier"], bias="all")
    without = make_adapter(model, tmp_path / "b", target_modules=["q_proj"])
    merge_adapters([with_head, without], tmp_path / "out", whole_from=1)
    images = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    assert torch.isfinite(logits_with(type(model), base, tmp_path / "out", images)).all()
    assert Adapter(tmp_path / "out").config["bias"] == "none"


def test_what_peft_could_not_hold_together_is_refused(tmp_path):
    model = tiny.tiny_llama()
    plain = make_adapter(model, tmp_path / "plain", target_modules=["q_proj"], modules_to_save=["lm_head"])
    on_head = make_adapter(model, tmp_path / "head", target_modules=["lm_head", "embed_tokens"])
    with pytest.raises(CompressionError, match="lm_head has factors in .*head and is saved whole in .*plain"):
        merge_adapters([plain, on_head], tmp_path / "out", whole_from=0)
    biased = make_adapter(model, tmp_path / "biased", target_modules=["q_proj"], lora_bias=True)
    with pytest.raises(CompressionError, match="embed_tokens is an embedding, .*q_proj has a LoRA bias in .*biased"):
        merge_adapters([on_head, biased], tmp_path / "out")


def test_the_header_says_what_went_in_and_the_bytes_repeat(two, tmp_path):
    for name in ("one", "two"):
        merge_adapters(two, tmp_path / name, rank=2)
    one, again = (tmp_path / name / "adapter_model.safetensors" for name in ("one", "two"))
    assert one.read_bytes() == again.read_bytes()
    with safe_open(one, "pt") as file:
        inputs = json.loads(file.metadata()["hf_compress"])["lora"]["inputs"]
    assert [len(item["sha256"]) for item in inputs] == [64, 64]


def test_adapters_that_do_not_fit_together_are_refused(tmp_path):
    factors = {f"x.{name}": tensor for name, tensor in pair(8, 8).items()}
    one = write(tmp_path / "one", factors, base_model_name_or_path="org/a")
    wide = write(tmp_path / "wide", {f"x.{name}": tensor for name, tensor in pair(9, 8).items()})
    with pytest.raises(CompressionError, match=r"x is matrix 8 x \[8\] in .* and matrix 8 x \[9\]"):
        merge_adapters([one, wide], tmp_path / "out")
    other = write(tmp_path / "other", factors, base_model_name_or_path="org/b")
    with pytest.raises(CompressionError, match="was trained on 'org/a' and .* on 'org/b'"):
        merge_adapters([one, other], tmp_path / "out")
    merge_adapters([one, other], tmp_path / "renamed", base="org/a")
    dora = write(tmp_path / "dora", {**factors, "x.lora_magnitude_vector": torch.ones(8)})
    with pytest.raises(CompressionError, match="x is DoRA, whose change depends on the base"):
        merge_adapters([one, dora], tmp_path / "out")
    with pytest.raises(CompressionError, match="rank=9 is more than these adapters have: their sum has rank 8 at most"):
        merge_adapters([one, one], tmp_path / "out", rank=9)
    with pytest.raises(CompressionError, match="weights has 1 numbers for 2 adapters"):
        merge_adapters([one, one], tmp_path / "out", weights=[1.0])
    with pytest.raises(CompressionError, match=r"energy=1.5 lies outside \(0, 1\]"):
        merge_adapters([one, one], tmp_path / "out", energy=1.5)
    with pytest.raises(CompressionError, match="exists already"):
        merge_adapters([one], tmp_path / "other")
    with pytest.raises(CompressionError, match="x.lora_B.weight has values that float16 cannot hold"):
        merge_adapters([one], tmp_path / "out", weights=[1e6], dtype="float16")
    assert not (tmp_path / "out").exists()
