"""A storage type in which an architecture does not run is one sentence before training."""

import copy
import logging

import pytest
import torch
import transformers as t
from datasets import Dataset

from hf_compress import W8A16, CompressionTrainer, Quantization
from hf_compress._errors import CompressionError
from hf_compress._modules.types import cast_weights
from hf_compress.quantization import loaded_small
from hf_compress.quantization.qat import prepare
from hf_compress.quantization.storage_type import check_before_training, check_storage_type

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
HY_V4 = {
    "vocab_size": 128,
    "hidden_size": 64,
    "intermediate_size": 128,
    "moe_intermediate_size": 32,
    "num_hidden_layers": 2,
}
HY_V4 |= {"num_attention_heads": 4, "num_key_value_heads": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "n_group": 1}
HY_V4 |= {"kv_lora_rank": 32, "q_lora_rank": 32, "qk_nope_head_dim": 16, "qk_rope_head_dim": 16, "v_head_dim": 16}
HY_V4 |= {"index_head_dim": 16, "index_n_heads": 4, "index_topk": 16, "max_position_embeddings": 128, "topk_group": 1}
HY_V4 |= {"mlp_layer_types": ["dense", "sparse"], "head_dim": 16, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
MAMBA = {
    "vocab_size": 128,
    "num_hidden_layers": 2,
    "state_size": 8,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


class OtherWay(t.LlamaForCausalLM):
    """As Falcon Mamba does, only that it rounds otherwise in float32 on every processor, and not on some."""

    def forward(self, *args, **kwargs):
        found = super().forward(*args, **kwargs)
        schemes = [getattr(module, "quantization_scheme", None) for module in self.modules()]
        if hasattr(self.config, "_is_quantized") and any(scheme and scheme.input_activations for scheme in schemes):
            found.logits = found.logits + 1e-3
        return found


MODELS |= {
    "hy_v4": lambda: t.HYV4ForCausalLM(t.HYV4Config(**HY_V4)),
    # Loaded quantized its forward adds a bias and takes it away.
    "falcon_mamba": lambda: t.FalconMambaForCausalLM(t.FalconMambaConfig(hidden_size=256, **MAMBA)),
    "other_way": lambda: OtherWay(t.LlamaConfig(**SMALL, intermediate_size=64)),
}
W8A8 = Quantization(scheme="W8A8")


def trainer_of(name, folder, quantization=W8A8):
    ids = [[3, 4, 5, 6]] * 4
    return CompressionTrainer(
        model=MODELS[name](),
        args=t.TrainingArguments(
            output_dir=str(folder), max_steps=1, use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True
        ),
        train_dataset=Dataset.from_dict({"input_ids": ids, "labels": ids}),
        quantization=quantization,
    )


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


@pytest.mark.parametrize("name", ["ctrl", "hy_v4"])
def test_what_runs_dense_and_not_as_it_is_loaded_packed_is_refused(name):
    model = MODELS[name]()
    message = rf"^{name} does not run quantized with weights stored in bfloat16 \(.*dtype.*\); store them in float32$"
    with pytest.raises(CompressionError, match=message):
        check_storage_type(model, W8A8, "bfloat16")
    assert check_storage_type(model, W8A8, "float32") is torch.float32
    assert check_storage_type(model, None, "bfloat16") is torch.bfloat16
    assert check_storage_type(model, W8A8, "auto") is None


@pytest.mark.parametrize("dtype", ["bfloat16", "float32", "auto"])
def test_what_computes_otherwise_once_it_is_loaded_is_refused_with_the_schemes_that_do_not(dtype):
    message = (
        r"^quantization: llama with scheme W8A8 computes otherwise once it is loaded \(its logits differ by .*\);"
        r" take W4A16 or W8A16$"
    )
    with pytest.raises(CompressionError, match=message):
        check_storage_type(MODELS["other_way"](), W8A8, dtype)
    check_storage_type(MODELS["other_way"](), Quantization(scheme=W8A16(group_size=32)), dtype)


def test_a_bias_added_and_taken_away_is_noticed_in_16_bits():
    with pytest.raises(CompressionError, match=r"falcon_mamba .*\(its logits differ by .*\); (take|store)"):
        check_storage_type(MODELS["falcon_mamba"](), W8A8, "bfloat16")
    check_storage_type(MODELS["falcon_mamba"](), Quantization(scheme="W8A16"), "bfloat16")


def test_the_trainer_says_it_when_it_is_made(tmp_path, caplog):
    with pytest.raises(CompressionError, match="llama with scheme W8A8 computes otherwise"):
        trainer_of("other_way", tmp_path)
    for name, said in (("ctrl", 1), ("levit", 0)):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            check_before_training(prepared(name), W8A8)
        sentence = f"{name} does not run quantized with weights stored in bfloat16 ("
        assert caplog.text.count(sentence) == caplog.text.count("leave them in float32") == said


def prepared(name):
    model = MODELS[name]()
    prepare(model, W8A8, enabled=False)
    return model


@pytest.mark.parametrize("name", ["ctrl", "hy_v4"])
def test_finalize_refuses_it_with_the_trained_weights_as_they_were(name, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        trainer = trainer_of(name, tmp_path)
    assert f"{name} does not run quantized with weights stored in bfloat16" in caplog.text
    trainer.train()
    before = copy.deepcopy(trainer.model.state_dict())
    with pytest.raises(CompressionError, match=f"{name} does not run quantized with weights stored in bfloat16"):
        trainer.finalize(dtype="bfloat16")
    assert all(torch.equal(tensor, before[name]) for name, tensor in trainer.model.state_dict().items())
    assert trainer.finalize(dtype="float32") is trainer.model


def test_one_question_is_asked_once(monkeypatch):
    asked = []
    original = loaded_small.small_twin
    monkeypatch.setattr(loaded_small, "small_twin", lambda *args: asked.append(args) or original(*args))
    for dtype in ("bfloat16", "bfloat16", "float16"):
        check_storage_type(MODELS["levit"](), Quantization(scheme="FP8_DYNAMIC"), dtype)
    assert len(asked) == 2


def test_the_check_draws_no_random_numbers_of_the_training():
    model, state = MODELS["xlnet"](), torch.get_rng_state()
    with pytest.raises(CompressionError):
        check_storage_type(model, W8A8, "bfloat16")
    assert torch.equal(torch.get_rng_state(), state)
