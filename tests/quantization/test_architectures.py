"""Thirteen architectures of scripts/sweep_architectures.py: each is exact, left dense and named, or one sentence."""

import copy
import json

import pytest
import torch
import transformers as t
from datasets import Dataset

from hf_compress import CompressionTrainer, Quantization, quantize, save_compressed
from hf_compress._errors import CompressionError
from hf_compress._forward.probe import probe_inputs
from hf_compress._modules.types import cast_weights
from hf_compress.quantization.qat import prepare
from hf_compress.quantization.reach import left_dense, quantized_coverage
from hf_compress.quantization.scheme import Scheme

SMALL = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 4}
TEXT = {**SMALL, "vocab_size": 64, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
GROUPED = {**TEXT, "num_key_value_heads": 2}
VISION = {**SMALL, "image_size": 8, "patch_size": 4}
SPEECH = {"conv_dim": (16, 16), "conv_kernel": (10, 3), "conv_stride": (5, 2), "num_feat_extract_layers": 2}
SPEECH |= {"num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
COUPLE = {
    "d_model": 32,
    "encoder_layers": 1,
    "decoder_layers": 1,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
}
COUPLE |= {"encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "vocab_size": 64, "pad_token_id": 0, "eos_token_id": 2}
HYBRID = {
    "head_dim": 8,
    "mamba_num_heads": 4,
    "mamba_head_dim": 8,
    "n_groups": 2,
    "ssm_state_size": 8,
    "n_routed_experts": 4,
}
HYBRID |= {"moe_intermediate_size": 32, "moe_shared_expert_intermediate_size": 32}

MODELS = {
    "Mixtral": lambda: t.MixtralForCausalLM(t.MixtralConfig(**GROUPED, num_local_experts=4)),
    "Qwen3-MoE": lambda: t.Qwen3MoeForCausalLM(
        t.Qwen3MoeConfig(**GROUPED, head_dim=8, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16)
    ),
    "Nemotron-H": lambda: t.NemotronHForCausalLM(t.NemotronHConfig(**{**GROUPED, **HYBRID, "num_hidden_layers": 2})),
    "Llama-4": lambda: t.Llama4ForCausalLM(
        t.Llama4TextConfig(**{**GROUPED, "num_local_experts": 2, "intermediate_size_mlp": 64, "head_dim": 8})
    ),
    "T5": lambda: t.T5ForConditionalGeneration(
        t.T5Config(vocab_size=64, d_model=32, d_kv=8, d_ff=64, num_layers=1, num_heads=4, decoder_start_token_id=0)
    ),
    "ModernBERT": lambda: t.ModernBertForSequenceClassification(
        t.ModernBertConfig(**TEXT, cls_token_id=3, sep_token_id=4, num_labels=3)
    ),
    "Wav2Vec2": lambda: t.Wav2Vec2ForSequenceClassification(t.Wav2Vec2Config(**SMALL, **SPEECH)),
    "WavLM": lambda: t.WavLMForSequenceClassification(t.WavLMConfig(**SMALL, **SPEECH)),
    "SigLIP": lambda: t.SiglipForImageClassification(t.SiglipConfig(vision_config=VISION, text_config=TEXT)),
    "DINOv2": lambda: t.Dinov2ForImageClassification(t.Dinov2Config(**VISION)),
    "Mamba": lambda: t.MambaForCausalLM(
        t.MambaConfig(vocab_size=64, hidden_size=32, state_size=8, num_hidden_layers=1, pad_token_id=0)
    ),
    "Whisper": lambda: t.WhisperForConditionalGeneration(
        t.WhisperConfig(
            **COUPLE, num_mel_bins=8, max_source_positions=20, max_target_positions=16, begin_suppress_tokens=None
        )
    ),
    "BERT": lambda: t.BertForMaskedLM(t.BertConfig(**TEXT)),
}


def make(name):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = MODELS[name]().eval()
        for parameter in model.parameters():
            if parameter.dim() >= 2:
                torch.nn.init.normal_(parameter, std=0.15)
        return model


def scheme(name):
    return Scheme.create(name, group_size=16) if name in ("W4A16", "W8A16", "W4A8") else Scheme.create(name)


@torch.no_grad()
def logits(model):
    return model(**probe_inputs(model)).logits


READ = "the architecture reads its weight by itself instead of calling it"
TIED = "its weight is tied to {}, so compressing one changes the other"
EXACT = {
    ("Mixtral", "W4A16"): {},
    ("Mixtral", "FP8_DYNAMIC"): {},
    ("Qwen3-MoE", "W8A8"): {},
    ("Nemotron-H", "W8A16"): {},
    ("T5", "W4A16"): {},
    ("ModernBERT", "W4A16"): {},
    ("Wav2Vec2", "W4A16"): {},
    ("WavLM", "W8A8"): {f"wavlm.encoder.layers.0.attention.{key}_proj": READ for key in ("k", "v", "q", "out")},
    ("SigLIP", "W4A16"): {"vision_model.head.attention.out_proj": READ},
    ("Mamba", "FP8_DYNAMIC"): {"backbone.layers.0.mixer.dt_proj": READ},
    ("Whisper", "W4A16"): {"proj_out": TIED.format("model.decoder.embed_tokens")},
    ("BERT", "W8A8"): {"cls.predictions.decoder": TIED.format("bert.embeddings.word_embeddings")},
}


@pytest.mark.parametrize(("name", "kind"), EXACT)
def test_plain_transformers_computes_what_training_saw_and_what_stays_dense_is_named(name, kind, tmp_path):
    model = make(name)
    prepared = prepare(copy.deepcopy(model), Quantization(scheme=scheme(kind)))
    trained = copy.deepcopy(model)
    prepare(trained, Quantization(scheme=scheme(kind)))
    expected = logits(trained)
    quantize(model, Quantization(scheme=scheme(kind)))
    save_compressed(model, tmp_path / "model")
    loaded, info = type(model).from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not info["missing_keys"] and not info["unexpected_keys"] and not info["mismatched_keys"]
    assert torch.equal(logits(loaded.eval()), expected)
    assert left_dense(model) == EXACT[name, kind]
    assert prepared and not set(prepared) & set(EXACT[name, kind])


@pytest.mark.parametrize("name", ["WavLM", "Mamba", "Nemotron-H"])
def test_what_was_trained_is_what_is_loaded(name, tmp_path):
    """From the trainer to plain transformers, without a look inside."""
    model = make(name)
    sounds = torch.randn(4, 400, generator=torch.Generator().manual_seed(0)).tolist()
    rows = [{"input_values": sound, "labels": number % 2} for number, sound in enumerate(sounds)]
    if name != "WavLM":
        rows = [{"input_ids": [3, 4, 5, 6 + number], "labels": [3, 4, 5, 6 + number]} for number in range(4)]
    args = t.TrainingArguments(
        output_dir=str(tmp_path / "run"), max_steps=2, use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True
    )
    job = Quantization(scheme="W8A8", ignore=["re:.*(lm_head|classifier|gru_rel_pos_linear)"])
    trainer = CompressionTrainer(model=model, args=args, train_dataset=Dataset.from_list(rows), quantization=job)
    trainer.train()
    batch = {key: torch.tensor([rows[1][key]]) for key in rows[1] if key != "labels"}
    with torch.no_grad():
        expected = model.eval()(**batch).logits
    save_compressed(trainer.finalize(), tmp_path / "model")
    with torch.no_grad():
        assert torch.equal(type(model).from_pretrained(tmp_path / "model").eval()(**batch).logits, expected)


REFUSED = {
    ("Llama-4", "W8A8"): "transformers would not load llama4_text with scheme W8A8 .*; prune or distil this model instead",
    ("DINOv2", "W8A8"): "transformers would not load dinov2 with scheme W8A8 .*; prune or distil this model instead",
}


@pytest.mark.parametrize(("name", "kind"), REFUSED)
def test_what_transformers_would_not_load_is_refused_before_training_and_the_model_left_alone(name, kind):
    model = make(name)
    dense = logits(model)
    with pytest.raises(CompressionError, match=REFUSED[name, kind]):
        prepare(model, Quantization(scheme=scheme(kind)))
    assert torch.equal(logits(model), dense) and not left_dense(model)


def test_packed_experts_are_in_the_sentence_and_dense_ones_in_the_config_by_their_names_on_disk(tmp_path):
    model = make("Mixtral")
    quantize(model, Quantization(scheme=scheme("W4A16")))
    assert "left: MixtralExperts" in quantized_coverage(model).sentence("quantized")
    save_compressed(model, tmp_path / "model")
    written = json.loads((tmp_path / "model" / "config.json").read_text())["quantization_config"]
    names = [rf"re:.*\.experts\.\d+\.{part}$" for part in ("w1", "w2", "w3")]
    assert set(names) | {"lm_head"} <= set(written["ignore"])
    assert written["config_groups"]["group_dense_experts"]["targets"] == names


def test_less_than_half_is_a_warning(caplog):
    quantize(make("Mixtral"), Quantization(scheme="W8A8"))
    assert [record.levelname for record in caplog.records if "quantized 4 of 5 Linear" in record.message] == ["WARNING"]


def test_a_bypassed_module_that_was_named_is_refused():
    name = "wavlm.encoder.layers.0.attention.q_proj"
    with pytest.raises(
        CompressionError, match=rf"{name} cannot be compressed: {READ}; nothing else matches .*, so name other targets: the"
    ):
        prepare(make("WavLM"), Quantization(scheme="W8A8", targets=[r"re:.*attention\.q_proj"]))


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_an_architecture_that_mixes_types_is_refused_before_it_is_cast(dtype):
    model = t.DebertaForSequenceClassification(t.DebertaConfig(**TEXT))
    with pytest.raises(
        CompressionError, match=f"deberta does not run with weights stored in {dtype} .*; store them in float32"
    ):
        cast_weights(model, dtype)
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}
    assert cast_weights(model, "float32") is model


def test_a_packed_encoder_decoder_generates_right_after_loading(tmp_path):
    model = make("T5")
    quantize(model, Quantization(scheme=scheme("W4A16")))
    save_compressed(model, tmp_path / "model")
    loaded = type(model).from_pretrained(tmp_path / "model").eval()
    ids = probe_inputs(model)["input_ids"]
    assert torch.equal(loaded.generate(ids, max_new_tokens=4), model.generate(ids, max_new_tokens=4))
    assert json.loads((tmp_path / "model" / "config.json").read_text())["quantization_config"]["dequantize"] is True


def test_quantized_activations_of_an_encoder_decoder_say_what_generate_needs(caplog):
    quantize(make("T5"), Quantization(scheme="W8A8"))
    assert any("call model(...) once before generate()" in message for message in caplog.messages)


def test_a_refusal_names_the_schemes_that_load(monkeypatch):
    from hf_compress.quantization import rehearsal

    real = rehearsal.problem_of

    def fails(model, layout):
        weights = next(iter(layout.schemes.values())).weights
        return "no" if weights.num_bits == 4 else real(model, layout)

    monkeypatch.setattr(rehearsal, "problem_of", fails)
    message = r"would not load bert with scheme W4A16 \(no\); take FP8_DYNAMIC or W8A16 or W8A8$"
    with pytest.raises(CompressionError, match=message):
        prepare(make("BERT"), Quantization(scheme=scheme("W4A16")))


def test_buffers_that_a_class_builds_in_its_own_type_are_cast_as_they_will_be_loaded():
    config = t.ApertusConfig(**{**GROUPED, "hidden_act": "xielu"})
    model = cast_weights(t.ApertusForCausalLM(config).eval(), "bfloat16")
    buffers = dict(model.named_buffers())
    assert buffers["model.rotary_emb.inv_freq"].dtype == torch.float32
    assert {buffer.dtype for name, buffer in buffers.items() if "act_fn" in name} == {torch.bfloat16}
    assert logits(model).dtype == torch.bfloat16
