"""Dense checkpoints: pruned weights as zeros in ordinary safetensors."""

from pathlib import Path
from typing import Any

from torch import nn
from transformers import PreTrainedModel

from hf_compress._errors import CompressionError
from hf_compress._folders import written_beside
from hf_compress._modules import cast_weights


def save_dense(model: PreTrainedModel, folder: str | Path, processor: Any = None, dtype: str = "auto") -> Path:
    """Write an ordinary checkpoint that any library loads.

    Args:
        model: a transformers model without quantization.
        folder: must not exist; appears only when everything is written.
        processor: tokenizer or image processor to write beside it.
        dtype: "auto" (as the model is) or a torch type's name; the model is cast in place.

    Returns:
        The folder.

    Raises:
        CompressionError: the folder exists, or the model carries quantized modules.
    """
    with written_beside(Path(folder)) as part:
        write_dense(model, part, processor, dtype)
    return Path(folder)


def write_dense(model: PreTrainedModel, folder: Path, processor: Any = None, dtype: str = "auto") -> None:
    """The same into a folder that exists, for callers that write more beside it before it counts."""
    _refuse_quantized(model)
    cast_weights(model, dtype)
    model.save_pretrained(folder)
    if processor is not None:
        processor.save_pretrained(folder)


def _refuse_quantized(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if getattr(module, "quantization_scheme", None) is not None or getattr(module, "qat_scheme", None) is not None:
            raise CompressionError(
                f"{name} is quantized, and a dense checkpoint would lose that; write it with save_compressed"
            )
