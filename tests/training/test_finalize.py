"""What training promises is what comes out."""

import pytest
import torch
from transformers import AutoModelForCausalLM

from hf_compress import CompressionError, save_compressed, save_dense
from hf_compress.evaluation.size import measure_size
from tests.training.runs import everything, llama_trainer, pruning, quantization
from tests.training.test_resume import StopAt


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_fake_quantized_logits_equal_the_reloaded_checkpoint(dtype, tmp_path):
    trainer = llama_trainer(tmp_path)
    trainer.train()
    inputs = torch.arange(3, 19).view(2, 8)
    trainer.model.eval()
    if dtype == "float32":
        with torch.no_grad():
            trained = trainer.model(inputs).logits
    model = trainer.finalize(dtype=dtype)
    with torch.no_grad():
        finalized = model(inputs).logits
    save_compressed(model, tmp_path / "out")
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        served = reloaded(inputs).logits
    assert served.dtype is getattr(torch, dtype)
    assert float((finalized - served).abs().max()) == 0.0
    if dtype == "float32":
        assert float((trained - served).abs().max()) == 0.0


def test_quantized_layers_are_packed_to_int4_on_disk(tmp_path):
    trainer = llama_trainer(tmp_path, {"quantization": quantization()})
    trainer.train()
    save_compressed(trainer.finalize(dtype="bfloat16"), tmp_path / "out")
    size = measure_size(tmp_path / "out")
    # 4 bits and one 16-bit scale per group of 16, plus the shape of each layer
    assert size["num_quantized"] == 14
    assert size["quantized_ratio"] == pytest.approx((4 + 16 / 16) / 16, rel=0.05)


def test_pruned_model_is_an_ordinary_checkpoint(tmp_path):
    trainer = llama_trainer(tmp_path, {"pruning": pruning()})
    trainer.train()
    save_dense(trainer.finalize(), tmp_path / "out")
    reloaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    name = "model.layers.0.self_attn.q_proj.weight"
    assert int((reloaded.state_dict()[name] == 0).sum()) == reloaded.state_dict()[name].numel() // 2


def test_finalize_refuses_a_run_that_stopped_early(tmp_path):
    trainer = llama_trainer(tmp_path, callbacks=[StopAt(4)])
    trainer.train()
    with pytest.raises(CompressionError, match="stopped at step 4 of 12"):
        trainer.finalize()


def test_finalize_refuses_weights_that_were_written_to_afterwards(tmp_path):
    trainer = llama_trainer(tmp_path, everything())
    trainer.train()
    with torch.no_grad():
        trainer.model.model.layers[0].mlp.up_proj.weight.fill_(0.1)
    with pytest.raises(CompressionError, match="wrote to pruned weights"):
        trainer.finalize()
