"""A tiny model of any row of the table of architectures."""

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForCTC,
    AutoModelForImageClassification,
    AutoModelForImageTextToText,
    AutoModelForMaskedLM,
    AutoModelForSeq2SeqLM,
    AutoModelForSpeechSeq2Seq,
    BloomConfig,
    BloomForCausalLM,
)

LAYERS, HEADS, WIDTH, HIDDEN = 4, 4, 24, 32
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
TEXT = {"vocab_size": 64, "max_position_embeddings": 64, **SPECIAL}
IMAGE = {"image_size": 8, "patch_size": 4}
SOUND = {
    "vocab_size": 64,
    "conv_dim": (8, 8),
    "conv_kernel": (10, 3),
    "conv_stride": (5, 2),
    "num_conv_pos_embeddings": 4,
    "num_conv_pos_embedding_groups": 2,
    "layerdrop": 0.0,
}
SPECTROGRAM = {"num_mel_bins": 8, "max_source_positions": 12, "max_target_positions": 64, "begin_suppress_tokens": None}
KINDS = ["full_attention", "sliding_attention", "sliding_attention", "full_attention"]
GEMMA = {**TEXT, "query_pre_attn_scalar": 8, "sliding_window": 3, "layer_types": KINDS}
EXPERTS = 4
MIXTURE = {"num_local_experts": EXPERTS, "num_experts_per_tok": 2}
SETTINGS = {
    "qwen3_moe": {**TEXT, **MIXTURE, "norm_topk_prob": True},
    "mixtral": {**TEXT, **MIXTURE},
    "vit": IMAGE,
    "deit": {**IMAGE, "architectures": ["DeiTForImageClassification"]},  # its Auto class knows two
    "wav2vec2": SOUND,
    "hubert": SOUND,
    "whisper": {**TEXT, **SPECTROGRAM, "decoder_start_token_id": 1},
    "t5": {**TEXT, "decoder_start_token_id": 0},
    "bart": {**TEXT, "decoder_start_token_id": 2},
    "gemma2": GEMMA,
    "gemma3_text": GEMMA,
    "gemma3": GEMMA,
}
"""Of a model type, beside its counts; of text where nothing else is said."""
AROUND = {
    "gemma3": {
        "vision_config": {
            "model_type": "siglip_vision_model",
            "hidden_size": 8,
            "intermediate_size": 8,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            **IMAGE,
        },
        "mm_tokens_per_image": 4,
        "boi_token_index": 60,
        "eoi_token_index": 61,
        "image_token_index": 62,
    }
}
"""Around the part of the config that has the counts."""


def small_config(architecture, **changes):
    """Of four layers with four heads and, where they are counted apart, two of keys and values."""
    plain = architecture.counts(AutoConfig.for_model(architecture.name))
    width = plain.attribute_map.get("hidden_size", "hidden_size")
    settings = {width: HIDDEN, **SETTINGS.get(architecture.name, TEXT)}
    for stack in architecture.stacks(plain):
        keys = stack.attention
        settings |= {stack.num_layers: LAYERS, keys.heads: HEADS, stack.feed_forward.width: WIDTH}
        settings |= {keys.key_value_heads: 2} if keys.key_value_heads else {}
        settings |= {keys.head_size: HIDDEN // HEADS} if hasattr(plain, keys.head_size or "") else {}
    settings |= changes
    if architecture.config_part:
        settings = {architecture.config_part: settings, **AROUND[architecture.name]}
    return AutoConfig.for_model(architecture.name, **settings)


def auto_class(config):
    """The Auto class whose head a model of this type usually has."""
    if hasattr(config, "image_size"):
        return AutoModelForImageClassification
    if hasattr(config, "vision_config"):
        return AutoModelForImageTextToText
    if hasattr(config, "conv_kernel"):
        return AutoModelForCTC
    if config.is_encoder_decoder:
        return AutoModelForSpeechSeq2Seq if hasattr(config, "num_mel_bins") else AutoModelForSeq2SeqLM
    encodes = config.model_type in ("bert", "roberta", "distilbert")
    return AutoModelForMaskedLM if encodes else AutoModelForCausalLM


def small_model(architecture, seed=0, **changes):
    """In evaluation mode, with weights (norms and biases too) large enough that every part of it counts."""
    config = small_config(architecture, **changes)
    model = auto_class(config).from_config(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def small_batch(model, batch_size=2, length=10):
    """Keyword arguments of it; a decoder's tokens are fewer than an encoder's."""
    generator, config = torch.Generator().manual_seed(1), model.config
    if hasattr(config, "image_size"):
        return {"pixel_values": torch.randn(batch_size, 3, 8, 8, generator=generator)}
    if hasattr(config, "conv_kernel"):
        return {"input_values": torch.randn(batch_size, 300, generator=generator)}
    if hasattr(config, "num_mel_bins"):
        batch = {"input_features": torch.randn(batch_size, 8, 24, generator=generator)}
    else:
        batch = {"input_ids": torch.randint(3, 60, (batch_size, length), generator=generator)}
    if config.is_encoder_decoder:
        batch["decoder_input_ids"] = torch.randint(3, 64, (batch_size, length - 3), generator=generator)
    return batch


def model_without_row():
    """Of a type that the table does not know."""
    return BloomForCausalLM(BloomConfig(vocab_size=64, hidden_size=32, n_layer=1, n_head=4))
