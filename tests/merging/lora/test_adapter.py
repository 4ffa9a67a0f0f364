"""Reading an adapter's folder: PEFT's scales and pattern rule, and one sentence for what is not LoRA or not whole."""

import json
import math
import warnings

import pytest
import torch
from peft import LoraConfig, get_peft_model
from peft.tuners.lora import LoraLayer as PeftLayer
from peft.utils.other import get_pattern_key

from hf_compress._errors import CompressionError
from hf_compress.merging.lora.adapter import Adapter, pattern_value
from tests import tiny
from tests.merging.adapters import make_adapter
from tests.merging.lora.test_source import pair, write


def test_scale_is_alpha_over_rank_or_over_its_root(tmp_path):
    factors = {f"x.{name}": tensor for name, tensor in pair(8, 8).items()}
    assert Adapter(write(tmp_path / "plain", factors, lora_alpha=6)).layers["x"].scale == 1.5
    assert Adapter(write(tmp_path / "rs", factors, lora_alpha=6, use_rslora=True)).layers["x"].scale == 3.0
    pattern = {"rank_pattern": {"x": 4}, "r": 16, "alpha_pattern": {"x": 1}}
    assert Adapter(write(tmp_path / "pattern", factors, **pattern)).layers["x"].scale == 0.25


@pytest.mark.parametrize("rslora", [False, True])
def test_scales_and_ranks_are_those_in_peft_modules(rslora, tmp_path):
    config = {
        "target_modules": ["q_proj", "v_proj", "up_proj"],
        "use_rslora": rslora,
        "rank_pattern": {"v_proj": 2, "layers.1.mlp.up_proj": 8, "^q_proj": 3},
        "alpha_pattern": {".*up_proj": 5, "roj": 1},
    }
    adapter = Adapter(make_adapter(tiny.tiny_llama(), tmp_path / "adapter", **config))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        modules = get_peft_model(
            tiny.tiny_llama(), LoraConfig(r=4, lora_alpha=6, **config)
        ).base_model.model.named_modules()
    theirs = {name: (m.r["default"], m.scaling["default"]) for name, m in modules if isinstance(m, PeftLayer)}
    assert {name: (layer.rank, layer.scale) for name, layer in adapter.layers.items()} == theirs


@pytest.mark.parametrize(
    "key", ["q_proj", "proj", "^model.q_proj", "^q_proj", r".*\.0\..*", "layers.0.q_proj", "a|q_proj", "layers"]
)
@pytest.mark.parametrize("module", ["model.layers.0.q_proj", "model.q_proj", "q_proj", "layers.0.q_proj", "xq_proj"])
def test_patterns_match_as_in_peft(key, module):
    patterns = {key: 7, "x.*": 9}
    assert pattern_value(patterns, module, 1) == patterns.get(get_pattern_key(patterns.keys(), module), 1)


def test_bin_files_are_read_weights_only(tmp_path):
    folder = make_adapter(tiny.tiny_llama(), tmp_path / "adapter", target_modules=["q_proj"])
    whole = Adapter(folder)
    tensors = {key: whole.read(key) for layer in whole.layers.values() for key in layer.keys.values()}
    (folder / "adapter_model.safetensors").unlink()
    torch.save(tensors, folder / "adapter_model.bin")
    read = Adapter(folder)
    for name, layer in read.layers.items():
        for ours, theirs in zip(read.factors(layer), whole.factors(whole.layers[name]), strict=True):
            assert torch.equal(ours, theirs)
    torch.save({"x": math.sqrt}, folder / "adapter_model.bin")
    with pytest.raises(CompressionError, match="cannot be loaded as weights only"):
        Adapter(folder)


X = {f"x.{name}": tensor for name, tensor in pair(8, 8).items()}


@pytest.mark.parametrize(
    ("tensors", "config", "message"),
    [
        (X, {"peft_type": "IA3"}, "peft_type is 'IA3'; only LORA"),
        (X, {"init_lora_weights": "pissa_niter_4"}, "changed the base when training began"),
        (X, {"r": 0}, "r=0 is not a rank"),
        (X, {"r": 8}, r"x has A \[4, 8\] and B \[8, 4\], and adapter_config.json gives it rank 8"),
        (X, {"rank_pattern": {"(": 2}}, r"the pattern '\(' is not a regular expression"),
        (X, {"rank_pattern": ["x"]}, r"rank_pattern=\['x'\] is not a mapping"),
        (X, {"lora_alpha": "16"}, "gives x alpha '16', which is not a number"),
        (X, {"alpha_pattern": {"x": None}}, "gives x alpha None, which is not a number"),
        ({"x.lora_A.weight": torch.ones(4, 8)}, {}, "x has no lora_B"),
        ({**X, "x.lora_diag": torch.ones(4)}, {}, "x.lora_diag is a kind of tensor this library does not know"),
        ({}, {}, "holds no tensors"),
    ],
)
def test_what_is_no_plain_lora_is_refused(tensors, config, message, tmp_path):
    with pytest.raises(CompressionError, match=message):
        Adapter(write(tmp_path / "adapter", tensors, **config))


def test_missing_and_damaged_files_are_named(tmp_path):
    with pytest.raises(CompressionError, match="there is no folder"):
        Adapter(tmp_path / "nowhere")
    folder = write(tmp_path / "adapter", X)
    weights = folder / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-8])
    with pytest.raises(CompressionError, match="adapter_model.safetensors is truncated"):
        Adapter(folder)
    weights.unlink()
    with pytest.raises(CompressionError, match="holds neither adapter_model.safetensors nor adapter_model.bin"):
        Adapter(folder)
    (folder / "adapter_config.json").write_bytes(b"\xff{}")
    with pytest.raises(CompressionError, match="is not valid JSON"):
        Adapter(folder)
    (folder / "adapter_config.json").write_text("{")
    with pytest.raises(CompressionError, match="is not valid JSON"):
        Adapter(folder)
    (folder / "adapter_config.json").unlink()
    with pytest.raises(CompressionError, match="holds no adapter_config.json"):
        Adapter(folder)


def test_factors_in_8_bit_floats_are_read(tmp_path):
    adapter = Adapter(write(tmp_path / "adapter", {name: tensor.to(torch.float8_e4m3fn) for name, tensor in X.items()}))
    assert adapter.factors(adapter.layers["x"])[0].dtype == torch.float32


def test_nan_in_a_factor_is_refused_when_it_is_read(tmp_path):
    adapter = Adapter(write(tmp_path / "adapter", {**X, "x.lora_A.weight": torch.full((4, 8), float("nan"))}))
    with pytest.raises(CompressionError, match="x.lora_A.weight holds NaN or infinity"):
        adapter.factors(adapter.layers["x"])
    assert json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())["r"] == 4
