"""How many numbers a model computes with, how many of them are not zero, and where the zeros are."""

from typing import Any

from torch import nn

from hf_compress.evaluation.cost.storage import BESIDE


def count_parameters(model: nn.Module) -> dict[str, Any]:
    """Parameters and exact zeros of a model with dense weights.

    A quantized checkpoint has them once it has run: plain transformers unpacks it in its first forward. Its zeros are then
    those of the grid: rounding adds to what pruning made.

    Returns:
        total: entries of all parameters, a tied one once, without scales and zero points. nonzero: those that are not
        exactly 0. sparsity: weight of two or more dimensions, by name -> share of exact zeros in it. overall_sparsity:
        the zeros of these / their entries, None without any.
    """
    total = nonzero = size = zeros = 0
    sparsity: dict[str, float] = {}
    for name, parameter in model.named_parameters():
        layer, _, last = name.rpartition(".")
        if last in BESIDE:
            continue
        filled = int(parameter.count_nonzero())
        total, nonzero = total + parameter.numel(), nonzero + filled
        if parameter.dim() > 1 and parameter.numel():
            size, zeros = size + parameter.numel(), zeros + parameter.numel() - filled
            sparsity[layer if last == "weight" else name] = 1 - filled / parameter.numel()
    return {
        "total": total,
        "nonzero": nonzero,
        "sparsity": sparsity,
        "overall_sparsity": zeros / size if size else None,
    }
