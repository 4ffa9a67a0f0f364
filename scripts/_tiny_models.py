"""A tiny model of any architecture that transformers builds: its default config with every known size made small.

Nothing is written down per architecture but what the rule does not reach (`SPECIAL`). An architecture that cannot be built
so is a `CannotBuildError` with the reason.
"""

import contextlib
import math
from collections.abc import Callable
from typing import Any

import torch
from transformers import CONFIG_MAPPING, PretrainedConfig, PreTrainedModel
from transformers.models.auto import modeling_auto

KINDS = {
    "causal LM": "CAUSAL_LM",
    "masked LM": "MASKED_LM",
    "sequence classification": "SEQUENCE_CLASSIFICATION",
    "image classification": "IMAGE_CLASSIFICATION",
    "audio classification": "AUDIO_CLASSIFICATION",
    "CTC": "CTC",
    "text to text": "SEQ_TO_SEQ_CAUSAL_LM",
    "speech to text": "SPEECH_SEQ_2_SEQ",
}
"""What a row is called -> the name of the Auto mapping."""

LARGEST = 20_000_000
"""Parameters; a model that stays larger is no tiny model, and is listed as not built."""


def _each(value: Any, *names: str) -> dict[str, Any]:
    return dict.fromkeys(names, value)


SIZES: dict[str, Any] = {
    **_each(64, "hidden_size", "d_model", "n_embd", "dim", "emb_dim", "embed_dim", "embedding_size", "embedding_dim"),
    **_each(64, "word_embed_proj_dim", "hidden_dim", "attention_hidden_size", "lru_width", "d_inner", "projection_dim"),
    **_each(64, "input_embedding_size", "output_embedding_size", "backbone_hidden_size", "decoder_hidden_size"),
    **_each(64, "encoder_hidden_size", "cross_attention_hidden_size", "output_dim", "hidden_act_dim", "bottleneck_dim"),
    **_each(128, "intermediate_size", "ffn_dim", "encoder_ffn_dim", "decoder_ffn_dim", "d_ff", "dff", "dim_ff", "n_inner"),
    **_each(128, "ffn_hidden_size", "feed_forward_size", "intermediate_size_mlp", "dense_intermediate_size"),
    **_each(128, "shared_intermediate_size", "decoder_intermediate_size", "encoder_intermediate_size", "mlp_dim"),
    **_each(32, "moe_intermediate_size", "shared_expert_intermediate_size", "expert_ffn_hidden_size"),
    **_each(32, "moe_shared_expert_intermediate_size", "shared_experts_intermediate_size", "router_hidden_size"),
    **_each(2, "num_hidden_layers", "n_layer", "num_layers", "n_layers", "encoder_layers", "decoder_layers"),
    **_each(2, "num_encoder_layers", "num_decoder_layers", "decoder_num_hidden_layers", "encoder_num_hidden_layers"),
    **_each(2, "num_attention_layers", "speech_encoder_layers", "text_encoder_layers", "text_decoder_layers"),
    **_each(
        4, "num_attention_heads", "n_head", "num_heads", "n_heads", "encoder_attention_heads", "decoder_attention_heads"
    ),
    **_each(4, "num_encoder_attention_heads", "num_decoder_attention_heads", "swa_num_attention_heads", "attention_heads"),
    **_each(4, "decoder_num_attention_heads", "encoder_num_attention_heads", "mamba_num_heads", "linear_num_heads"),
    **_each(4, "speech_encoder_attention_heads"),
    **_each(2, "num_key_value_heads", "num_kv_heads", "swa_num_key_value_heads", "decoder_num_key_value_heads"),
    **_each(2, "encoder_num_key_value_heads", "multi_query_group_num", "num_query_groups"),
    **_each(16, "head_dim", "kv_channels", "d_kv", "attention_head_dim", "swa_head_dim", "attention_head_size", "d_head"),
    **_each(16, "dim_head", "v_head_dim", "qk_nope_head_dim", "qk_rope_head_dim", "linear_key_head_dim", "mamba_head_dim"),
    **_each(16, "linear_value_head_dim", "linear_head_dim", "mamba_d_head", "mamba_headdim", "index_head_dim"),
    **_each(32, "qk_head_dim", "kv_lora_rank", "q_lora_rank", "o_lora_rank"),
    **_each(2, "linear_num_key_heads", "mamba_n_groups", "n_groups", "mamba_ngroups", "o_groups"),
    **_each(4, "linear_num_value_heads", "n_mamba_heads", "mamba_n_heads", "index_n_heads"),
    **_each(4, "num_experts", "num_local_experts", "n_routed_experts", "moe_num_experts"),
    **_each(2, "num_experts_per_tok", "moe_topk", "moe_k", "num_experts_per_token", "num_selected_experts"),
    **_each(1, "n_group", "topk_group", "n_shared_experts", "num_shared_experts", "moe_num_shared_experts"),
    **_each(1, "num_expert_group", "first_k_dense_replace", "num_dense_layers", "type_vocab_size_", "zero_expert_num"),
    **_each(8, "mamba_d_state", "state_size", "ssm_state_size", "time_step_rank", "mamba_dt_rank", "chunk_size"),
    **_each(128, "vocab_size", "unpadded_vocab_size", "vocab_size_per_layer_input", "decoder_vocab_size"),
    **_each(128, "max_position_embeddings", "n_positions", "n_ctx", "model_max_length", "max_seq_len", "context_length"),
    **_each(64, "max_target_positions"),
    **_each(16, "hidden_size_per_layer_input", "adapter_rank", "num_centroids", "index_topk", "num_conv_pos_embeddings"),
    **_each(4, "num_conv_pos_embedding_groups", "laurel_rank"),
    **_each(8, "num_mel_bins", "input_feat_per_channel"),
    "feature_projection_input_dim": 16,
    **_each((16, 16, 16), "conv_dim", "tdnn_dim"),
    **_each((10, 3, 3), "conv_kernel"),
    **_each((5, 2, 2), "conv_stride"),
    "num_feat_extract_layers": 3,
    "max_source_positions": 64,
    "conv_channels": 16,
    "image_size": 32,
    "sliding_window": 16,
    "attention_window": 8,
    "num_labels": 3,
    "layerdrop": 0.0,
    "num_nextn_predict_layers": 0,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 2,
    "begin_suppress_tokens": None,
    "forced_eos_token_id": 2,
    "forced_bos_token_id": None,
    "image_token_id": 120,
    "video_token_id": 121,
    "audio_token_id": 122,
    "vision_start_token_id": 123,
    "vision_end_token_id": 124,
    "image_token_index": 120,
    "sep_token_id": 3,
    "mask_token_id": 4,
    "cls_token_id": 5,
}
"""Key -> small value, set where the config has the key with a value of the same kind."""

_MLA = {"head_dim": 16, "qk_rope_head_dim": 16, "qk_nope_head_dim": 16, "qk_head_dim": 32, "v_head_dim": 16}
_MAMBA = {"mamba_expand": 2, "mamba_n_heads": 8, "mamba_d_head": 16, "mamba_d_state": 8, "mamba_n_groups": 1}
SPECIAL: dict[str, dict[str, Any]] = {
    **_each({**_MLA, "num_key_value_heads": 4}, "deepseek_v3", "glm4_moe_lite", "minicpm3", "youtu", "mistral4"),
    **_each({**_MLA, "num_key_value_heads": 4}, "axk1", "axk2", "deepseek_v32", "glm_moe_dsa", "longcat_flash"),
    **_each(_MAMBA, "bamba", "granitemoehybrid"),
    "falcon_h1": {**_MAMBA, "mamba_d_ssm": 128},
    "mamba2": {"expand": 2, "num_heads": 8, "head_dim": 16, "n_groups": 1, "state_size": 8},
    "codegen": {"n_embd": 64, "n_head": 4, "rotary_dim": 8},
    "gptj": {"n_embd": 64, "n_head": 4, "rotary_dim": 8},
    "gpt_neo": {"num_layers": 2, "attention_types": [[["global", "local"], 1]]},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 10000.0, "clip_qkv": 8.0},
        "ffn_config": {"ffn_hidden_size": 64, "moe_num_experts": 4},
    },
    "xlstm": {"num_heads": 4, "embedding_dim": 64, "hidden_size": 64, "num_hidden_layers": 2},
    "esm": {"vocab_size": 128, "mask_token_id": 4, "emb_layer_norm_before": False},
    **_each({"head_dim": 16, "num_key_value_heads": 2}, "hunyuan_v1_dense", "hunyuan_v1_moe", "ministral"),
    "nemotron": {"num_key_value_heads": 2},
    "esmc": {"num_key_value_heads": 4},
    "reformer": {
        "is_decoder": True,
        "axial_pos_embds_dim": [16, 48],
        "axial_pos_shape": [8, 16],
        "attn_layers": ["local", "lsh"],
    },
    "luke": {"entity_vocab_size": 16, "entity_emb_size": 32},
    "lilt": {"hidden_size": 96, "channel_shrink_ratio": 4},
    "layoutlmv3": {"coordinate_size": 10, "shape_size": 12, "hidden_size": 64},
    "zaya": {"num_experts_per_tok": 1},
    "deepseek_v2": {**_MLA, "num_key_value_heads": 4, "num_experts_per_tok": 2, "n_group": 1, "topk_group": 1},
    "cohere_compass_text": {"layer_types": None, "num_hidden_layers": 4},
    **_each({"num_hidden_layers": 4, "layer_types": ["mamba", "mamba", "hybrid", "mamba"]}, "zamba", "zamba2"),
    "gemma3n_text": {"num_hidden_layers": 4, "num_kv_shared_layers": 0, "layer_types": None, "num_key_value_heads": 2},
    "siglip2_vision_model": {"hidden_size": 64, "num_patches": 64, "patch_size": 4},
    "audio-spectrogram-transformer": {"num_mel_bins": 16, "max_length": 32, "patch_size": 8},
    "wav2vec2-conformer": {"vocab_size": 128},
    "wav2vec2-bert": {"vocab_size": 128},
    "moonshine": {"encoder_num_key_value_heads": 4, "decoder_num_key_value_heads": 4},
    "kyutai_speech_to_text": {"audio_pad_token_id": 5, "audio_bos_token_id": 6, "codebook_vocab_size": 64},
    "granite_speech5_ctc": {"input_dim": 32},
    "dots3_note": {"num_key_value_heads": 4},
    "xmod": {"default_language": "en_XX", "languages": ["en_XX"]},
    "perceiver": {"d_latents": 64, "num_latents": 8, "d_model": 64, "num_blocks": 1, "num_self_attends_per_block": 1},
    **_each({"embed_dim": 48, "depths": [1, 1], "num_heads": [3, 6], "window_size": 4}, "swin", "swinv2", "donut-swin"),
    "bit": {"embedding_size": 16, "hidden_sizes": [32, 64], "depths": [1, 1], "num_groups": 8},
    **_each({"hidden_sizes": [16, 32], "depths": [1, 1], "num_stages": 2}, "convnext", "convnextv2"),
    "resnet": {"embedding_size": 16, "hidden_sizes": [32, 64], "depths": [1, 1]},
    "hiera": {"embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [1, 2, 4, 8], "image_size": [64, 64]},
    "efficientnet": {"image_size": 32, "width_coefficient": 0.25, "depth_coefficient": 0.25, "hidden_dim": 320},
    "mobilevitv2": {"image_size": 64},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"], "num_hidden_layers": 2},
    "dots1": {"layer_types": ["full_attention", "full_attention"], "sliding_window": None, "num_key_value_heads": 4},
}
"""What the rule does not reach: model type -> keys of its config, laid over the small sizes."""


class CannotBuildError(Exception):
    """No tiny model of this architecture, and why."""


def architectures() -> list[tuple[str, str, str]]:
    """(kind, model type, class name) of everything the Auto mappings of `KINDS` name, in their order."""
    found = []
    for kind, name in KINDS.items():
        mapping = getattr(modeling_auto, f"MODEL_FOR_{name}_MAPPING_NAMES")
        for model_type, classes in mapping.items():
            found.append((kind, model_type, classes if isinstance(classes, str) else classes[0]))
    return found


VARIANTS: tuple[dict[str, Any], ...] = (
    {},
    {"num_hidden_layers": 4},
    {"num_key_value_heads": 4},
    {"head_dim": None},
    {"layer_types": None, "num_hidden_layers": 3},
)
"""Tried in order until a model both builds and runs; None means that the key is left to the architecture."""


def build(
    model_type: str, class_name: str, runs: Callable[[PreTrainedModel], object] | None = None, seed: int = 0
) -> PreTrainedModel:
    """The model in fp32 and evaluation mode; random matrices, so that every weight reaches the logits.

    Args:
        model_type: of the config.
        class_name: of the model.
        runs: raises where the model does not compute; the next variant is tried then.
        seed: of the weights.

    Raises:
        CannotBuildError: the config or the class refuses the sizes, or the model stays large; the first variant's reason.
    """
    reasons = []
    for variant in VARIANTS:
        try:
            model = _build(model_type, class_name, variant, seed)
            if runs is not None:
                runs(model)
            return model
        except Exception as error:  # each architecture refuses in its own way
            reasons.append(str(error) if isinstance(error, CannotBuildError) else reason(error))
    raise CannotBuildError(reasons[0])


def _build(model_type: str, class_name: str, variant: dict[str, Any], seed: int) -> PreTrainedModel:
    import transformers

    cls = getattr(transformers, class_name, None)
    if cls is None:
        raise CannotBuildError(f"transformers exports no {class_name}")
    try:
        config = shrink(model_type, variant)
        expected = getattr(cls, "config_class", None)
        if expected is not None and not isinstance(config, expected):
            parts = [getattr(config, key) for key in ("text_config", "decoder", "decoder_config") if hasattr(config, key)]
            config = next((part for part in parts if isinstance(part, expected)), config)
        with torch.device("meta"):
            size = sum(parameter.numel() for parameter in cls(config).parameters())
        if size > LARGEST:
            raise CannotBuildError(f"{size:,} parameters are left at the small sizes")
        torch.manual_seed(seed)
        model = cls(config).float().eval()
    except CannotBuildError:
        raise
    except Exception as error:
        raise CannotBuildError(reason(error)) from error
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() >= 2 and parameter.is_floating_point():
                spread = min(0.2, 1 / math.sqrt(parameter.shape[-1]))
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * spread)
    return model


def shrink(model_type: str, variant: dict[str, Any]) -> PretrainedConfig:
    """The architecture's default config with small sizes, in its parts as well."""
    cls = CONFIG_MAPPING[model_type]
    default: Any = None
    with contextlib.suppress(Exception):
        default = cls()
    known = default.to_dict() if default is not None else {}
    return cls(**{**_small(known, default, variant), **SPECIAL.get(model_type, {})})


def _small(known: dict[str, Any], config: Any, variant: dict[str, Any]) -> dict[str, Any]:
    """The keyword arguments that make a config small."""
    changes: dict[str, Any] = {}
    for key, value in known.items():
        part = None
        with contextlib.suppress(Exception):  # attributes that differ from layer to layer refuse to be read
            part = getattr(config, key, None)
        if isinstance(part, PretrainedConfig):
            changes[key] = {**_small(part.to_dict(), part, variant), **SPECIAL.get(part.model_type, {})}
            if part.model_type:
                changes[key]["model_type"] = part.model_type
        elif key in SIZES and _alike(SIZES[key], value, key):
            changes[key] = SIZES[key]
    if hasattr(config, "num_labels"):
        changes["num_labels"] = 3
    if "pad_token_id" not in changes and hasattr(config, "vocab_size"):
        changes["pad_token_id"] = 0
    for key in variant.keys() & changes.keys():
        changes[key] = variant[key]
        if variant[key] is None:
            del changes[key]
    return changes


def _alike(small: Any, value: Any, key: str) -> bool:
    """Whether a config's value is of the kind that the small one replaces; a list of sizes is not one size."""
    if key.endswith(("_token_id", "_token_index")):
        return True
    if isinstance(small, tuple):
        return isinstance(value, list | tuple)
    return isinstance(value, int | float) and not isinstance(value, bool)


def reason(error: BaseException) -> str:
    """A library's message in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
