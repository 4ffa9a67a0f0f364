"""Weights that can be compressed: those of a model without adapters that is not quantized yet."""

from typing import Any

from hf_compress._errors import CompressionError


def is_adapted(model: Any) -> bool:
    """The model carries PEFT adapters."""
    return hasattr(model, "peft_config")


def is_quantized(model: Any) -> bool:
    """The model was quantized, by this library or while it was loaded."""
    return getattr(model, "hf_quantizer", None) is not None or bool(getattr(model, "is_quantized", False))


def require_plain(model: Any, doing: str) -> None:
    """Refuse a model whose weights are packed, rounded already, or behind an adapter.

    Args:
        model: only read.
        doing: "pruning" or "quantization".

    Raises:
        CompressionError: with the way out.
    """
    if is_adapted(model):
        raise CompressionError(
            f"{doing} of a PEFT model is not supported: merging the adapter would undo it; merge it first"
            " (model = model.merge_and_unload())"
        )
    require_dense(model, doing)


def require_dense(model: Any, doing: str) -> None:
    """Refuse a model whose weights are packed or rounded already.

    Raises:
        CompressionError: with the way out.
    """
    if is_quantized(model):
        raise CompressionError(
            f"the model is already quantized, so {doing} finds no dense weights; load the dense checkpoint (and"
            " prune before you quantize)"
        )
