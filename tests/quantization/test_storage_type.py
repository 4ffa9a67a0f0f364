"""A storage type in which an architecture does not run is one sentence before training."""

import copy

import pytest
import torch
import transformers as t
from datasets import Dataset

from hf_compress import CompressionTrainer, Quantization
from hf_compress._errors import CompressionError
from hf_compress._modules.types import cast_weights
from hf_compress.quantization.storage_type import check_storage_type

SMALL = {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 4}
CTRL = {"vocab_size": 64, "n_embd": 32, "n_layer": 1, "n_head": 4, "dff": 64, "n_positions": 32}
REFORMER = {
    **SMALL,
    "is_decoder": True,
    "attn_layers": ["local", "lsh"],
    "attention_head_size": 8,
    "feed_forward_size": 64,
    "axial_pos_shape": [4, 4],
    "axial_pos_embds_dim": [16, 16],
    "max_position_embeddings": 16,
    "local_attn_chunk_length": 4,
    "lsh_attn_chunk_length": 4,
    "num_buckets": 2,
}
LEVIT = {"image_size": 32, "hidden_sizes": [16, 16, 16], "num_attention_heads": [2, 2, 2], "depths": [1, 1, 1]}
LEVIT |= {"key_dim": [8, 8, 8], "patch_size": 16}
MODELS = {
    "deberta": lambda: t.DebertaForSequenceClassification(t.DebertaConfig(**SMALL, intermediate_size=64)),
    "xlnet": lambda: t.XLNetLMHeadModel(t.XLNetConfig(vocab_size=64, d_model=32, n_layer=1, n_head=4, d_inner=64)),
    "reformer": lambda: t.ReformerModelWithLMHead(t.ReformerConfig(**REFORMER)),
    "fnet": lambda: t.FNetForMaskedLM(t.FNetConfig(**SMALL, intermediate_size=64)),
    "mra": lambda: t.MraForMaskedLM(t.MraConfig(**SMALL, intermediate_size=64)),
    "levit": lambda: t.LevitForImageClassification(t.LevitConfig(**LEVIT)),
    "ctrl": lambda: t.CTRLLMHeadModel(t.CTRLConfig(**CTRL)),
}
W8A8 = Quantization(scheme="W8A8")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("name", ["deberta", "xlnet", "reformer", "fnet", "mra"])
def test_an_architecture_that_does_not_run_in_a_type_is_refused_before_it_is_cast(name, dtype):
    model = MODELS[name]()
    with pytest.raises(
        CompressionError, match=f"^{name} does not run with weights stored in {dtype} .*; store them in float32$"
    ):
        cast_weights(model, dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    with pytest.raises(CompressionError, match="store them in float32"):
        check_storage_type(model, W8A8, dtype)
    assert check_storage_type(model, None, "float32") is torch.float32


@pytest.mark.parametrize("name", ["levit", "ctrl"])
def test_an_architecture_that_runs_in_a_type_is_cast(name):
    assert cast_weights(MODELS[name](), "bfloat16").dtype == torch.bfloat16


def test_what_runs_dense_and_not_as_it_is_loaded_packed_is_refused():
    message = r"^ctrl does not run quantized with weights stored in bfloat16 \(layer_norm of .*\); store them in float32$"
    with pytest.raises(CompressionError, match=message):
        check_storage_type(MODELS["ctrl"](), W8A8, "bfloat16")
    assert check_storage_type(MODELS["ctrl"](), W8A8, "float32") is torch.float32
    assert check_storage_type(MODELS["ctrl"](), None, "bfloat16") is torch.bfloat16
    assert check_storage_type(MODELS["ctrl"](), W8A8, "auto") is None


def test_finalize_refuses_it_with_the_trained_weights_as_they_were(tmp_path):
    ids = [[3, 4, 5, 6]] * 4
    trainer = CompressionTrainer(
        model=MODELS["ctrl"](),
        args=t.TrainingArguments(
            output_dir=str(tmp_path), max_steps=1, use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True
        ),
        train_dataset=Dataset.from_dict({"input_ids": ids, "labels": ids}),
        quantization=W8A8,
    )
    trainer.train()
    before = copy.deepcopy(trainer.model.state_dict())
    with pytest.raises(CompressionError, match="ctrl does not run quantized with weights stored in bfloat16"):
        trainer.finalize(dtype="bfloat16")
    assert all(torch.equal(tensor, before[name]) for name, tensor in trainer.model.state_dict().items())
    assert trainer.finalize(dtype="float32") is trainer.model


def test_the_check_draws_no_random_numbers_of_the_training():
    model, state = MODELS["xlnet"](), torch.get_rng_state()
    with pytest.raises(CompressionError):
        check_storage_type(model, W8A8, "bfloat16")
    assert torch.equal(torch.get_rng_state(), state)
