"""Tiny models of many architectures, with random weights that no initialisation scheme made equal."""

import torch
import transformers as t

SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
T5 = {"vocab_size": 64, "d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
BART = {
    "vocab_size": 64,
    "d_model": 32,
    "encoder_layers": 2,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 4,
    "encoder_ffn_dim": 64,
    "decoder_ffn_dim": 64,
    "pad_token_id": 0,
}
SPEECH = {"conv_dim": (16, 16), "conv_stride": (5, 2), "conv_kernel": (10, 3), "num_conv_pos_embeddings": 16}

ZOO = {
    "Llama": (t.LlamaForCausalLM, lambda: t.LlamaConfig(vocab_size=64, num_key_value_heads=2, **SMALL)),
    "Llama tied": (
        t.LlamaForCausalLM,
        lambda: t.LlamaConfig(vocab_size=64, num_key_value_heads=2, tie_word_embeddings=True, **SMALL),
    ),
    "Qwen3-MoE": (
        t.Qwen3MoeForCausalLM,
        lambda: t.Qwen3MoeConfig(
            vocab_size=64, num_key_value_heads=2, head_dim=8, num_experts=4, moe_intermediate_size=16, **SMALL
        ),
    ),
    "GPT-2": (t.GPT2LMHeadModel, lambda: t.GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=4, n_positions=64)),
    "BERT": (t.BertForMaskedLM, lambda: t.BertConfig(vocab_size=64, **SMALL)),
    "DistilBERT": (
        t.DistilBertForSequenceClassification,
        lambda: t.DistilBertConfig(vocab_size=64, dim=32, n_layers=2, n_heads=4, hidden_dim=64),
    ),
    "T5": (t.T5ForConditionalGeneration, lambda: t.T5Config(**T5)),
    "BART": (t.BartForConditionalGeneration, lambda: t.BartConfig(**BART)),
    "ViT": (t.ViTForImageClassification, lambda: t.ViTConfig(image_size=16, patch_size=4, **SMALL)),
    "CLIP": (
        t.CLIPModel,
        lambda: t.CLIPConfig(
            text_config={"vocab_size": 64, **SMALL}, vision_config={"image_size": 16, "patch_size": 4, **SMALL}
        ),
    ),
    "ResNet": (
        t.ResNetForImageClassification,
        lambda: t.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 2], num_labels=3),
    ),
    "Wav2Vec2": (t.Wav2Vec2ForCTC, lambda: t.Wav2Vec2Config(vocab_size=32, num_feat_extract_layers=2, **SPEECH, **SMALL)),
    "Whisper": (
        t.WhisperForConditionalGeneration,
        lambda: t.WhisperConfig(num_mel_bins=16, max_source_positions=32, max_target_positions=32, **BART),
    ),
}


def make(name, seed, dtype=torch.float32):
    """A model whose floating weights and buffers are random numbers that depend on `seed`."""
    cls, config = ZOO[name]
    model = cls(config())
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        for tensor in model.buffers():
            if tensor.is_floating_point() and tensor.shape:
                tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
    return model.to(dtype).eval()
