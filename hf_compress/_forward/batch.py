"""A batch where the model is."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


def on_device(batch: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """The tensors of a batch on a device; anything else stays as it is."""
    return {key: value.to(device) if isinstance(value, Tensor) else value for key, value in batch.items()}
