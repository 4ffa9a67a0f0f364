"""A result that would not load is refused before a tensor is read."""

import json

import pytest

from hf_compress import CompressionError
from hf_compress.checkpoints import hashes as provenance
from hf_compress.merging.configuration import Member, Merge
from hf_compress.merging.engine.rehearsal import check_merge_inputs
from hf_compress.merging.engine.run import merge_checkpoints
from tests.merging.zoo import make


@pytest.fixture
def models(tmp_path):
    for seed, name in enumerate("ab"):
        make("Llama", seed).save_pretrained(tmp_path / name)
    return tmp_path


def job(models, **changes):
    return Merge(members=[Member(str(models / "a")), Member(str(models / "b"))], **changes)


@pytest.mark.parametrize("size", ["5GB", "1KB"])
def test_a_tensor_that_the_model_needs_is_missed_before_anything_is_read(models, size, monkeypatch):
    before = sorted(models.rglob("*"))
    monkeypatch.setattr(provenance, "sha256_of", None)  # nothing is hashed either
    merge = job(models, exclude=("model.norm.weight",), max_shard_size=size)
    for refuse in (check_merge_inputs, merge_checkpoints):
        with pytest.raises(
            CompressionError, match=r"/out: the merged checkpoint lacks model.norm.weight as LlamaForCausalLM"
        ):
            refuse(merge, models / "out")
    assert sorted(models.rglob("*")) == before


def test_a_config_that_does_not_fit_is_refused(models):
    file = models / "a" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "num_hidden_layers": 3}))
    with pytest.raises(CompressionError, match=r"lacks model.layers.2.* and 8 more as LlamaForCausalLM sees it"):
        check_merge_inputs(job(models), models / "out")


def test_a_good_merge_passes_and_leaves_nothing(models):
    before = sorted(models.rglob("*"))
    check_merge_inputs(job(models, max_shard_size="1KB"), models / "out")
    assert sorted(models.rglob("*")) == before
