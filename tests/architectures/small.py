"""A tiny model of any row of the table of architectures."""

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageClassification, AutoModelForMaskedLM

LAYERS, HEADS, WIDTH, HIDDEN = 4, 4, 24, 32
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2}
IMAGE = {"image_size": 8, "patch_size": 4}


def small_config(architecture, **changes):
    """Of four layers with four heads and, where they are counted apart, two of keys and values."""
    keys = architecture.attention
    settings = {
        "vocab_size": 64,
        "hidden_size": HIDDEN,
        "max_position_embeddings": 64,
        architecture.num_layers: LAYERS,
        keys.heads: HEADS,
        architecture.feed_forward.width: WIDTH,
        **(IMAGE if architecture.name == "vit" else SPECIAL),
    }
    if keys.key_value_heads:
        settings |= {keys.key_value_heads: 2, keys.head_size: HIDDEN // HEADS}
    return AutoConfig.for_model(architecture.name, **{**settings, **changes})


def auto_class(config):
    """The Auto class whose head a model of this type usually has."""
    if hasattr(config, "image_size"):
        return AutoModelForImageClassification
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
    """Keyword arguments of it."""
    if hasattr(model.config, "image_size"):
        generator = torch.Generator().manual_seed(1)
        return {"pixel_values": torch.randn(batch_size, 3, 8, 8, generator=generator)}
    generator = torch.Generator().manual_seed(1)
    return {"input_ids": torch.randint(3, 64, (batch_size, length), generator=generator)}
