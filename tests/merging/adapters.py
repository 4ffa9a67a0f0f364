"""PEFT adapters with random weights on tiny models, and what PEFT itself makes of them."""

import copy
import warnings

import torch
from peft import LoraConfig, PeftModel, get_peft_model

from hf_compress.checkpoints.source import open_source


def make_adapter(model, folder, seed=0, dtype=torch.float32, base_name=None, **config):
    """An adapter folder for `model`, which stays as it is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        adapted = get_peft_model(copy.deepcopy(model), LoraConfig(**{"r": 4, "lora_alpha": 6, **config}))
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in adapted.named_parameters():
            if "lora_magnitude" in name:
                parameter.data *= 1 + 0.1 * torch.rand(parameter.shape, generator=generator)
            elif "lora_" in name or "modules_to_save" in name:
                parameter.data = 0.1 * torch.randn(parameter.shape, generator=generator)
            if "lora_" in name:
                parameter.data = parameter.data.to(dtype)
        if config.get("bias") == "all":
            for name, parameter in adapted.named_parameters():
                if name.endswith("bias"):
                    parameter.data += 0.1
        if base_name is not None:
            adapted.peft_config["default"].base_model_name_or_path = base_name
        adapted.save_pretrained(folder)
    return folder


def save(model, folder):
    model.save_pretrained(folder)
    return folder


def merged_by_peft(base, adapters, folder):
    """The checkpoint that PEFT's merge_and_unload gives for the model in the folder `base`, one adapter after the other."""
    cls, model = base
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        merged = cls.from_pretrained(model)
        for adapter in adapters:
            merged = PeftModel.from_pretrained(merged, adapter).merge_and_unload()
        merged.save_pretrained(folder)
    return open_source(folder, "peft")


def logits_with(cls, base, adapter, *inputs):
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")
        loaded = PeftModel.from_pretrained(cls.from_pretrained(base), adapter)
        return loaded.eval()(*inputs).logits
