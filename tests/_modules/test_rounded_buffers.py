"""`model.to(bfloat16)` rounds the rotary frequencies, and loading computes them in fp32 again."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from hf_compress import CompressionError, Quantization, quantize, save_compressed, save_dense
from hf_compress._modules.rounded_buffers import in_place_of, rounded_buffers
from tests.tiny import tiny_llama

IDS = torch.randint(3, 60, (2, 8), generator=torch.Generator().manual_seed(0))


def test_only_what_a_cast_rounded_is_found():
    model, fresh = tiny_llama().to(torch.bfloat16), tiny_llama()
    assert set(rounded_buffers(model, fresh)) == {"model.rotary_emb.inv_freq", "model.rotary_emb.original_inv_freq"}
    model.model.rotary_emb.inv_freq.mul_(2)
    assert set(rounded_buffers(model, fresh)) == {"model.rotary_emb.original_inv_freq"}
    assert not rounded_buffers(tiny_llama(), fresh)


def test_the_models_own_values_come_back():
    model = tiny_llama().to(torch.bfloat16)
    before = model.model.rotary_emb.inv_freq.clone()
    with in_place_of(model, rounded_buffers(model, tiny_llama())):
        assert model.model.rotary_emb.inv_freq.dtype == torch.float32
    assert torch.equal(model.model.rotary_emb.inv_freq, before) and before.dtype == torch.bfloat16


@pytest.mark.parametrize("scheme", [None, "W8A8"])
def test_a_model_that_was_cast_as_a_whole_is_written_and_the_difference_named(scheme, tmp_path, caplog):
    model = tiny_llama().to(torch.bfloat16)
    if scheme is None:
        save_dense(model, tmp_path / "out")
    else:
        quantize(model, Quantization(scheme=scheme))
        save_compressed(model, tmp_path / "out")
    assert "rotary_emb.inv_freq of the model in memory was rounded by a cast" in caplog.text
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert loaded.model.rotary_emb.inv_freq.dtype == torch.float32
    assert torch.isfinite(loaded(input_ids=IDS).logits).all()


def test_frequencies_that_somebody_changed_are_no_rounding(tmp_path):
    model = tiny_llama().to(torch.bfloat16)
    model.model.rotary_emb.inv_freq.mul_(2)
    with pytest.raises(CompressionError, match="logits of the loaded checkpoint differ"):
        save_dense(model, tmp_path / "out")


def test_what_was_rounded_and_cast_back_is_found_too(tmp_path):
    model = tiny_llama().to(torch.bfloat16).float()
    assert set(rounded_buffers(model, tiny_llama())) == {
        "model.rotary_emb.inv_freq",
        "model.rotary_emb.original_inv_freq",
    }
    model.model.rotary_emb.inv_freq.mul_(2)
    assert set(rounded_buffers(model, tiny_llama())) == {"model.rotary_emb.original_inv_freq"}
    save_dense(tiny_llama().to(torch.bfloat16), tmp_path / "out", dtype="float32")
