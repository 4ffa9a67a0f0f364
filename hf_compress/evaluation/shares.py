"""How much of a model was compressed, of all its weights: "sparsity 0.5" of a twentieth of them is 0.025."""

from typing import Any

from torch import nn

from hf_compress._modules.coverage import Coverage, coverage
from hf_compress.pruning.compute import measure_sparsity
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.fit import chosen
from hf_compress.quantization.reach import quantized_coverage, quantized_sentence


def measure_shares(model: nn.Module, pruning: Pruning | None) -> dict[str, Any]:
    """A report row's shares, of a model that is pruned, or converted by `quantize` or `finalize`, or both.

    Returns:
        sparsity: exact zeros / weights of the pruned layers; zeros_share: the same zeros / all weights of the model; both
        None without pruning. quantized_share: weights of the quantized layers / all weights, None without any. Weights are
        the entries of parameters of two or more dimensions, a tied one once.
    """
    sparsity = None if pruning is None else measure_sparsity(model, pruning)[""]
    pruned, quantized = _pruned(model, pruning), _quantized(model)
    return {
        "sparsity": sparsity,
        "zeros_share": None if sparsity is None or pruned is None else sparsity * pruned.share,
        "quantized_share": None if quantized is None else quantized.share,
    }


def sparsity_of_layers(model: nn.Module, pruning: Pruning | None) -> dict[str, float]:
    """Module name -> share of exact zeros, of the pruned layers; {} without pruning."""
    if pruning is None:
        return {}
    return {name: share for name, share in measure_sparsity(model, pruning).items() if name}


def describe_reach(model: nn.Module, pruning: Pruning | None) -> tuple[str, ...]:
    """A sentence for pruning and one for quantization: how much each reached, what it left, and what it had to;
    of quantization also in which schemes, where there are several.
    """
    pruned = _pruned(model, pruning)
    verb = "kept the zeros of" if pruning is not None and pruning.keeps_zeros else "pruned"
    sentences = ("" if pruned is None else pruned.sentence(verb), quantized_sentence(model))
    return tuple(sentence for sentence in sentences if sentence)


def _pruned(model: nn.Module, pruning: Pruning | None) -> Coverage | None:
    if pruning is None:
        return None
    selection = chosen(model, pruning)
    return coverage(model, selection.modules, selection.left_out)


def _quantized(model: nn.Module) -> Coverage | None:
    found = quantized_coverage(model)
    return found if found.matched else None
