"""What a feed-forward unit and a head are worth, by what they write on data."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._modules.matrix import weight_matrix
from hf_compress.calibration.collect import collect


@torch.no_grad()
def unit_writing(output: nn.Module, input_norm: Tensor) -> Tensor:
    """score_j = ||X_j|| * ||v_j||: the Frobenius norm of x_j v_j over all tokens, which is what goes missing with unit j.

    Args:
        output: the module with a column v_j for each of U units.
        input_norm: (U,), ||X_j|| over all tokens.

    Returns:
        (U,) fp32.
    """
    return input_norm * weight_matrix(output).float().norm(dim=0)


@torch.no_grad()
def group_writing(output: nn.Module, gram: Tensor, groups: int) -> Tensor:
    """score_g = ||X_g O_g^T||_F = sqrt(trace(O_g (X_g^T X_g) O_g^T)): what goes missing with group g.

    Args:
        output: the module whose columns O_g read the heads, group by group.
        gram: (I, I), X^T X of its inputs, or that by the number of tokens.
        groups: how many there are.

    Returns:
        (groups,) fp32.
    """
    columns = weight_matrix(output).float().t().unflatten(0, (groups, -1))  # (G, I / G, O)
    size = columns.shape[1]
    own = torch.stack([gram[place * size :, place * size :][:size, :size] for place in range(groups)])
    return torch.einsum("gio,gij,gjo->g", columns, own, columns).clamp(min=0).sqrt()


def measured(
    model: nn.Module, modules: Mapping[str, nn.Module], statistic: str, batches: Iterable[Mapping[str, Any]]
) -> dict[str, Tensor]:
    """A statistic of the inputs of some modules, by their names.

    Raises:
        CompressionError: no batch reaches one of them, or see `collect`.
    """
    found = collect(model, batches, [statistic], modules=modules)[statistic]
    absent = next((name for name in modules if f"{name}.weight" not in found), None)
    if absent is not None:
        raise CompressionError(f"calibration: no batch reaches {absent}, so what it reads is not known; give other batches")
    return {name: found[f"{name}.weight"].to(modules[name].weight.device) for name in modules}  # type: ignore[union-attr, arg-type]
