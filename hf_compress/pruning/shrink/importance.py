"""What a feed-forward unit and a head are worth, from the weights alone."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._modules.matrix import weight_matrix


@torch.no_grad()
def unit_importance(inputs: Sequence[nn.Module], output: nn.Module) -> Tensor:
    """score_j = product over inputs of ||[w_j, b_j]|| * ||v_j||: what unit j can add to the output at most, up to f.

    The product stays what it is where a row is made larger and its column smaller by the same factor, which does not change
    what a ReLU or a gated unit computes.

    Args:
        inputs: modules with a row w_j (and a bias b_j) for each of U units.
        output: the module with a column v_j for each.

    Returns:
        (U,) fp32.
    """
    score = weight_matrix(output).float().norm(dim=0)
    for module in inputs:
        score = score * _with_bias(module).norm(dim=1)
    return score


@torch.no_grad()
def group_importance(value: nn.Module, output: nn.Module, groups: int) -> Tensor:
    """score_g = sqrt(sum over the heads h of group g of ||O_h [V_g, b_g]||_F**2): what the group writes for what it reads.

    The product of both matrices is what a head does to a token it looks at; it does not depend on the basis that the head
    has for it inside.

    Args:
        value: a module of groups * D rows, V_g of one after the other.
        output: the module whose columns are those of the heads, D for each, group by group.
        groups: how many heads of keys and values there are.

    Returns:
        (groups,) fp32.
    """
    values = _with_bias(value).unflatten(0, (groups, -1))  # (G, D, I)
    outputs = weight_matrix(output).float().t().unflatten(0, (groups, -1, values.shape[1]))  # (G, heads in it, D, O)
    inner = torch.einsum("gdi,gei->gde", values, values)
    written = torch.einsum("ghdo,gheo->gde", outputs, outputs)
    return (inner * written).sum((1, 2)).clamp(min=0).sqrt()


def most_important(score: Tensor, count: int, what: str) -> tuple[int, ...]:
    """The places of the `count` largest, ascending; of equal ones the first stay.

    Raises:
        CompressionError: a score is not finite.
    """
    if not bool(score.isfinite().all()):
        raise CompressionError(f"{what}: the weights hold NaN or infinity, so what they are worth is not known")
    order = torch.argsort(score, descending=True, stable=True)
    return tuple(sorted(order[:count].tolist()))


def _with_bias(module: nn.Module) -> Tensor:
    """(O, I), or (O, I + 1) with the bias as one more column; fp32."""
    matrix = weight_matrix(module).float()
    bias = getattr(module, "bias", None)
    return matrix if bias is None else torch.cat([matrix, bias.float()[:, None]], dim=1)
