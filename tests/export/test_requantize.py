"""Quantizing a merged model like its members."""

import json
import math

import pytest
import torch
from safetensors.torch import save_file
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    MixtralConfig,
    MixtralForCausalLM,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)

from hf_compress import Member, Merge, merge
from hf_compress._errors import CompressionError
from hf_compress.checkpoints.dequantized import DequantizedSource
from hf_compress.checkpoints.source import open_source
from hf_compress.export.formats.compressed_tensors import save_compressed
from hf_compress.export.requantize import expected_error, quantization_of, requantize
from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.groups import Group
from hf_compress.quantization.ptq import quantize
from hf_compress.quantization.qat import prepare
from hf_compress.quantization.scheme import Scheme
from hf_compress.quantization.schemes.presets import W4A16
from tests.tiny import tiny_llama, tiny_t5, tiny_tokenizer

SCHEMES = {name: 16 if name in ("W4A16", "W8A16", "W4A8") else None for name in Scheme.available()}


def _member(folder, name, seed):
    model = tiny_llama(seed)
    quantize(model, Quantization(scheme=Scheme.create(name, group_size=SCHEMES[name])))
    save_compressed(model, folder)
    return DequantizedSource(open_source(folder, folder.name))


def _average(sources, folder):
    """The mean of the members as a dense checkpoint."""
    tiny_llama().save_pretrained(folder)
    tensors = {name: torch.stack([source.read(name).float() for source in sources]).mean(0) for name in sources[0].infos}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return tensors


@pytest.mark.parametrize("name", SCHEMES)
def test_the_stated_error_is_that_of_the_written_model(tmp_path, name):
    members = {label: _member(tmp_path / label, name, seed) for seed, label in enumerate(("one", "two"))}
    tensors = _average(list(members.values()), tmp_path / "merged")
    config = json.loads((tmp_path / "one" / "config.json").read_text())
    tiny_tokenizer().save_pretrained(tmp_path / "merged")
    stated = requantize(tmp_path / "merged", tmp_path / "out", config, members)
    assert AutoTokenizer.from_pretrained(tmp_path / "out").get_vocab() == tiny_tokenizer().get_vocab()
    assert stated.scheme == name
    assert len(stated.layers) == 14
    written = DequantizedSource(open_source(tmp_path / "out", "out"))
    assert written.quantized == members["one"].quantized
    differences = sizes = 0.0
    for module in written.quantized:
        weight = tensors[f"{module}.weight"]
        difference = (written.read(f"{module}.weight") - weight).norm().item()
        assert stated.layers[module] == pytest.approx(difference / weight.norm().item(), rel=1e-5)  # fp32 norms
        differences, sizes = differences + difference**2, sizes + weight.norm().item() ** 2
    assert stated.overall == pytest.approx(math.sqrt(differences / sizes), rel=1e-5)
    assert set(stated.members) == {"one", "two"}
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    with torch.no_grad():
        assert model(input_ids=torch.arange(3, 9)[None]).logits.isfinite().all()


@pytest.mark.parametrize("name", SCHEMES)
def test_the_expected_error_is_near_the_true_one(tmp_path, name):
    member = _member(tmp_path / "one", name, 0)
    original = tiny_llama(0).state_dict()
    error = size = 0.0
    for module in member.quantized:
        weight = original[f"{module}.weight"]
        error += (member.read(f"{module}.weight") - weight).square().sum().item()
        size += weight.square().sum().item()
    # The largest weights of each group are hit exactly and the others fall unevenly: an estimate, not a bound.
    assert expected_error(member) == pytest.approx(math.sqrt(error / size), rel=0.1)


def test_the_setting_of_the_members_is_read_back(tmp_path):
    model = tiny_llama()
    quantize(model, Quantization(scheme=Scheme.create("W8A16", group_size=32), ignore=("re:.*(lm_head|down_proj)",)))
    save_compressed(model, tmp_path / "one")
    quantization = quantization_of(json.loads((tmp_path / "one" / "config.json").read_text()))
    assert quantization.scheme == Scheme.create("W8A16", group_size=32)
    assert quantization.targets == ("Linear",)
    assert "lm_head" in quantization.ignore
    assert sum("down_proj" in name for name in quantization.ignore) == 2


def test_dense_configs_and_foreign_schemes_are_refused(tmp_path):
    with pytest.raises(CompressionError, match="no compressed-tensors quantization_config"):
        quantization_of({"model_type": "llama"})
    _member(tmp_path / "one", "W4A16", 0)
    config = json.loads((tmp_path / "one" / "config.json").read_text())
    config["quantization_config"]["config_groups"]["group_0"]["weights"]["num_bits"] = 3
    with pytest.raises(CompressionError, match="3-bit int, group\\) is not one of FP8_DYNAMIC, W4A16"):
        quantization_of(config)
    (tmp_path / "out").mkdir()
    with pytest.raises(CompressionError, match="out exists already"):
        requantize(tmp_path / "merged", tmp_path / "out", config)


SMALL = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
SMALL |= {"num_key_value_heads": 2}
QWEN = {"head_dim": 8, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
EXPERTS = {
    "mixtral": lambda: MixtralForCausalLM(MixtralConfig(**SMALL, num_local_experts=4)),
    "qwen3_moe": lambda: Qwen3MoeForCausalLM(Qwen3MoeConfig(**SMALL, **QWEN)),
}


def _mixture(kind, seed):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return EXPERTS[kind]().eval()


@torch.no_grad()
def _logits(model):
    return model(input_ids=torch.arange(3, 19).reshape(2, 8)).logits


@pytest.mark.parametrize(("kind", "name"), [("mixtral", "W4A16"), ("qwen3_moe", "W8A8"), ("mixtral", "FP8_DYNAMIC")])
def test_mixtures_of_experts_are_merged_and_quantized_again(tmp_path, kind, name):
    quantization = Quantization(scheme=Scheme.create(name, group_size=SCHEMES[name]))
    for seed, label in enumerate(("one", "two")):
        _mixture(kind, seed).save_pretrained(tmp_path / "trained" / label)
        model = AutoModelForCausalLM.from_pretrained(tmp_path / "trained" / label)
        quantize(model, quantization)
        save_compressed(model, tmp_path / label)
    members = [Member(str(tmp_path / label), name=label) for label in ("one", "two")]
    merge(Merge(members=members, quantized="dense"), tmp_path / "dense")
    merge(Merge(members=members, quantized="requantize"), tmp_path / "out")
    reference = AutoModelForCausalLM.from_pretrained(tmp_path / "dense").eval()
    prepare(reference, quantization)
    loaded, info = AutoModelForCausalLM.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert torch.equal(_logits(loaded.eval()), _logits(reference))
    configs = [json.loads((tmp_path / place / "config.json").read_text()) for place in ("one", "out")]
    one, out = (config["quantization_config"] for config in configs)
    assert one["config_groups"] == out["config_groups"] and one["ignore"] == out["ignore"]
    assert ("group_dense_experts" in out["config_groups"]) == (name != "FP8_DYNAMIC")
    assert quantization_of(configs[1]).scheme == quantization.scheme


@pytest.mark.parametrize(("name", "said"), [("W8A8", True), ("W8A16", False)])
def test_the_card_of_merged_encoder_decoders_says_what_generating_asks(tmp_path, name, said):
    for seed, label in enumerate(("one", "two")):
        model = tiny_t5(seed)
        quantize(model, Quantization(scheme=Scheme.create(name, group_size=SCHEMES[name])))
        save_compressed(model, tmp_path / label)
    merge(Merge(members=[Member(str(tmp_path / label), name=label) for label in ("one", "two")]), tmp_path / "out")
    card = (tmp_path / "out" / "README.md").read_text()
    assert ("call model(...) once before generate()." in card) == said


def test_several_groups_are_taken_over_and_those_that_are_ignored_left_out(tmp_path):
    _member(tmp_path / "one", "W8A8", 0)
    config = json.loads((tmp_path / "one" / "config.json").read_text())
    groups = config["quantization_config"]["config_groups"]
    groups["group_1"] = {**groups["group_0"], "targets": ["re:.*down_proj"], "input_activations": None}
    with pytest.raises(CompressionError, match=r"scheme \(8-bit int, channel\) is not one of FP8_DYNAMIC, W4A16, W4A8"):
        quantization_of(config)
    config["quantization_config"]["ignore"].append("re:.*down_proj")
    assert quantization_of(config).scheme == Scheme.create("W8A8")
    config["quantization_config"]["ignore"].append("Linear")
    with pytest.raises(CompressionError, match="no group that quantizes anything, so there is no scheme to take over"):
        quantization_of(config)


def test_members_with_several_schemes_are_merged_and_quantized_again_in_the_same(tmp_path):
    groups = [Group(scheme="W8A8", targets=["re:.*down_proj"]), Group(scheme=W4A16(group_size=16), targets=["Linear"])]
    for seed, label in enumerate(("one", "two")):
        model = tiny_llama(seed=seed)
        quantize(model, Quantization(groups=groups))
        save_compressed(model, tmp_path / label)
    result = merge(Merge(members=[Member(str(tmp_path / label), name=label) for label in ("one", "two")]), tmp_path / "out")
    stored = [json.loads((tmp_path / label / "config.json").read_text()) for label in ("one", "out")]
    assert quantization_of(stored[0]) == quantization_of(stored[1])
    assert set(quantization_of(stored[0]).schemes) == {group.scheme for group in groups}
    assert result.reports["requantized"]["scheme"] == "W4A16 and W8A8"
    errors = result.reports["requantized"]["members_expected_error"]
    assert errors.keys() == {"one", "two"} and all(0.01 < error < 0.2 for error in errors.values())
