"""Configs with infinity or NaN are read as from_pretrained reads them."""

import json
import math

import pytest
from safetensors.torch import load_file
from transformers import Mamba2Config, Mamba2ForCausalLM, PreTrainedConfig

from hf_compress import Member, Merge, merge
from hf_compress.checkpoints.special_floats import decode_floats, encode_floats
from hf_compress.merging.configuration import LayerRange, Slice
from hf_compress.merging.lora.apply import apply_adapters
from hf_compress.merging.lora.extract import extract_lora
from hf_compress.merging.methods.passthrough import Passthrough
from tests.checkpoints.test_tied import assert_mean
from tests.merging.adapters import make_adapter

TAGGED = {"a": [0.0, {"__float__": "Infinity"}], "b": {"c": {"__float__": "-Infinity"}}, "d": {"__float__": "NaN"}}


def test_tags_become_the_numbers_that_transformers_reads(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps(TAGGED))
    data, read = decode_floats(TAGGED), PreTrainedConfig.from_pretrained(tmp_path)
    assert data["a"] == read.a == [0.0, math.inf]
    assert data["b"] == read.b == {"c": -math.inf}
    assert math.isnan(data["d"]) and math.isnan(read.d)
    assert encode_floats(data) == TAGGED


def test_what_is_no_tag_stays():
    plain = {"__float__": "half", "x": {"__float__": "Infinity", "y": 1}, "z": [{"__float__": 1}]}
    assert decode_floats(plain) == plain and encode_floats(plain) == plain


@pytest.mark.parametrize("bare", [False, True])
def test_mamba_2_merges_to_the_mean(bare, tmp_path):
    config = Mamba2Config(
        vocab_size=64, hidden_size=32, num_hidden_layers=1, num_heads=8, head_dim=8, state_size=8, n_groups=2
    )
    for name in ("a", "b"):
        Mamba2ForCausalLM(config).save_pretrained(tmp_path / name)
    file = tmp_path / "b" / "config.json"
    assert "__float__" in file.read_text()
    if bare:
        file.write_text(file.read_text().replace('{\n      "__float__": "Infinity"\n    }', "Infinity"))
        assert json.loads(file.read_text())["time_step_limit"] == [0.0, math.inf]
    merge(Merge(members=[Member(str(tmp_path / "a")), Member(str(tmp_path / "b"))]), tmp_path / "out", threads=1)
    assert_mean(*(load_file(tmp_path / name / "model.safetensors") for name in ("a", "b", "out")))
    assert json.loads((tmp_path / "out" / "config.json").read_text())["time_step_limit"] == TAGGED["a"]
    assert Mamba2ForCausalLM.from_pretrained(tmp_path / "out").config.time_step_limit == [0.0, math.inf]


def test_stacking_adapters_and_extraction_read_such_a_config_too(tmp_path):
    config = Mamba2Config(
        vocab_size=64, hidden_size=32, num_hidden_layers=2, num_heads=8, head_dim=8, state_size=8, n_groups=2
    )
    model = Mamba2ForCausalLM(config)
    model.save_pretrained(tmp_path / "base")
    pieces = tuple(Slice(sources=(LayerRange(member="m", layers=layers),)) for layers in ((0, 2), (1, 2)))
    job = Merge(method=Passthrough(), members=[Member(str(tmp_path / "base"), name="m")], slices=pieces)
    merge(job, tmp_path / "taller", threads=1)
    taller = Mamba2ForCausalLM.from_pretrained(tmp_path / "taller").config
    assert (taller.num_hidden_layers, taller.time_step_limit) == (3, [0.0, math.inf])
    make_adapter(model, tmp_path / "adapter", target_modules=["in_proj"])
    applied = apply_adapters(tmp_path / "base", [tmp_path / "adapter"], tmp_path / "tuned")
    assert len(applied.changed) == 2 and "nothing missing" in applied.loads
    assert extract_lora(tmp_path / "base", tmp_path / "tuned", tmp_path / "found", rank=4).error < 1e-5
