"""What a feed-forward unit and a head are worth, from the weights alone."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress._modules.matrix import weight_matrix


@torch.no_grad()
def unit_importance(inputs: Sequence[nn.Module], output: nn.Module) -> Tensor:
    """score_j = sum over inputs of ||[w_j, b_j]||**2 + ||v_j||**2: all that goes with unit j; 0 where one of them is 0.

    Source: Fang et al. 2023, DepGraph: the norm of a group of weights that go together. A unit of which one part is zero
    adds nothing, however large its others are.

    Args:
        inputs: modules with a row w_j (and a bias b_j) for each of U units.
        output: the module with a column v_j for each.

    Returns:
        (U,) fp32.
    """
    return _together([*(_rows(module, None) for module in inputs), _columns(output, None)])


@torch.no_grad()
def group_importance(inputs: Sequence[nn.Module], output: nn.Module, groups: int, by_head: bool = False) -> Tensor:
    """The same of all weights of a head of keys and values and its query heads; 0 where one of the four parts is 0.

    Args:
        inputs: queries, keys and values, each with as many rows for each of G groups, one group after the other; or one
            module with the rows of all three.
        output: the module whose columns read the heads, group by group.
        groups: G.
        by_head: the rows of one module are the first head's queries, keys and values, then the second's, and not all
            queries, then all keys, then all values.

    Returns:
        (groups,) fp32.
    """
    if len(inputs) > 1:
        rows = [_rows(module, groups) for module in inputs]
    else:
        each = _rows(inputs[0], 3 * groups)
        rows = list(each.unflatten(0, (groups, 3)).t() if by_head else each.unflatten(0, (3, groups)))
    return _together([*rows, _columns(output, groups)])


def most_important(score: Tensor, count: int, what: str) -> tuple[int, ...]:
    """The places of the `count` largest, ascending; of equal ones the first stay.

    Raises:
        CompressionError: a score is not finite.
    """
    if not bool(score.isfinite().all()):
        raise CompressionError(f"{what}: the weights hold NaN or infinity, so what they are worth is not known")
    order = torch.argsort(score, descending=True, stable=True)
    return tuple(sorted(order[:count].tolist()))


def _together(squares: Sequence[Tensor]) -> Tensor:
    """(parts, U) squared norms -> (U,)."""
    parts = torch.stack(list(squares))
    return parts.sum(0) * (parts != 0).all(0)


def _rows(module: nn.Module, groups: int | None) -> Tensor:
    """Squared norms of the rows with their biases, or of groups of neighbouring ones; fp32."""
    squares = weight_matrix(module).float().square().sum(1)
    bias = getattr(module, "bias", None)
    squares = squares if bias is None else squares + bias.float().square()
    return squares if groups is None else squares.unflatten(0, (groups, -1)).sum(1)


def _columns(module: nn.Module, groups: int | None) -> Tensor:
    squares = weight_matrix(module).float().square().sum(0)
    return squares if groups is None else squares.unflatten(0, (groups, -1)).sum(1)
