"""A finished checkpoint as those who use it load it."""

from pathlib import Path
from typing import Any

import torch

from hf_compress._quiet import quiet
from hf_compress.inputs.pretrained import from_pretrained


def load_to_run(folder: Path, auto_class: str, dtype: str, device: torch.device) -> Any:
    """Plain transformers, in evaluation mode.

    Args:
        folder: a checkpoint.
        auto_class: of transformers, by name.
        dtype: "auto" (as it is stored) or a type's name.
        device: where it runs.
    """
    import transformers

    with quiet():
        model = from_pretrained(getattr(transformers, auto_class), str(folder), "model", dtype=dtype)
    return model.to(device).eval()
