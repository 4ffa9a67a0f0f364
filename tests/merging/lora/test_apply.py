"""Adapters applied to a checkpoint on disk: what PEFT writes, in shards too, and pruned models stay pruned."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

from hf_compress._errors import CompressionError
from hf_compress._folders import written_beside
from hf_compress.checkpoints.source import open_source
from hf_compress.merging.lora.apply import apply_adapters
from tests import tiny
from tests.merging.adapters import make_adapter, merged_by_peft, save
from tests.merging.lora.test_source import ATTENTION, pruned_pair


@pytest.mark.parametrize("size", ["5GB", "30KB"])
def test_the_checkpoint_is_the_one_peft_writes(size, tmp_path):
    model = tiny.tiny_vit()
    base = save(model, tmp_path / "base")
    adapter = make_adapter(model, tmp_path / "adapter", target_modules=["q_proj", "fc2"], modules_to_save=["classifier"])
    expected = merged_by_peft((type(model), base), [adapter], tmp_path / "merged")
    result = apply_adapters(base, [adapter], tmp_path / "out", max_shard_size=size)
    got = open_source(tmp_path / "out", "out")
    assert (len(got.files()) > 1) == (size != "5GB")
    assert got.infos == expected.infos
    for name in got.infos:
        assert torch.equal(got.read(name), expected.read(name))
    assert "nothing missing, nothing unexpected" in result.loads
    assert len(result.changed) == 2 * 2 + 2
    with safe_open(got.files()[0], "pt") as file:
        inputs = json.loads(file.metadata()["hf_compress"])["lora"]["inputs"]
    assert [item["file"] for item in inputs] == ["base/model.safetensors", "adapter/adapter_model.safetensors"]


def test_a_pruned_model_stays_pruned_when_asked(tmp_path):
    base, adapter = pruned_pair(tmp_path)
    name = "model.layers.0.self_attn.q_proj.weight"
    zeros = open_source(base, "base").read(name) == 0
    dense = apply_adapters(base, [adapter], tmp_path / "dense")
    kept = apply_adapters(base, [adapter], tmp_path / "kept", keep_zeros=True)
    assert not (open_source(dense.folder, "dense").read(name) == 0).any()
    assert torch.equal(open_source(kept.folder, "kept").read(name) == 0, zeros)
    assert dense.zeros == kept.zeros
    assert "lost (keep_zeros keeps them)" in dense.summary()
    assert "kept at 0" in kept.summary()


def test_files_of_the_tokenizer_go_along(tmp_path):
    model = tiny.tiny_llama()
    base = save(model, tmp_path / "base")
    names = ("source.spm", "target.spm", "bpe.codes", "tekken.json")
    for name in names:
        (base / name).write_text(f"that of {name}")
    adapter = make_adapter(model, tmp_path / "adapter", target_modules=ATTENTION)
    apply_adapters(base, [adapter], tmp_path / "out")
    assert [(tmp_path / "out" / name).read_text() for name in names] == [f"that of {name}" for name in names]


def test_refusals_leave_nothing_behind(tmp_path):
    base = save(tiny.tiny_llama(), tmp_path / "base")
    other = make_adapter(tiny.tiny_llama(hidden_size=16), tmp_path / "other", target_modules=ATTENTION)
    with pytest.raises(CompressionError, match="the adapter belongs to another base"):
        apply_adapters(base, [other], tmp_path / "out")
    with pytest.raises(CompressionError, match="no adapters"):
        apply_adapters(base, [], tmp_path / "out")
    with pytest.raises(CompressionError, match="exists already"):
        apply_adapters(base, [other], base)
    with pytest.raises(CompressionError, match="max_shard_size='big' is not a size"):
        apply_adapters(base, [other], tmp_path / "out", max_shard_size="big")
    broken = make_adapter(tiny.tiny_llama(), tmp_path / "broken", target_modules=ATTENTION)
    weights = load_file(broken / "adapter_model.safetensors")
    next(iter(weights.values())).fill_(float("inf"))
    save_file(weights, broken / "adapter_model.safetensors")
    with pytest.raises(CompressionError, match="holds NaN or infinity"):
        apply_adapters(base, [broken], tmp_path / "nested" / "out")
    assert {entry.name for entry in tmp_path.iterdir()} == {"base", "other", "broken"}
    assert LlamaForCausalLM.from_pretrained(base) is not None


def test_two_that_write_one_folder_do_not_disturb_each_other(tmp_path):
    left = tmp_path / ".out.part" / "left by a run that was killed"
    left.mkdir(parents=True)
    with written_beside(tmp_path / "out") as part:
        assert not left.exists()
        (part / "half").touch()
        with pytest.raises(CompressionError, match="another process is writing it"), written_beside(tmp_path / "out"):
            pass
        assert (part / "half").exists()
    assert (tmp_path / "out" / "half").exists()
