"""What a part is worth, by how the loss would change without it, to first order."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._forward.batch import on_device
from hf_compress._modules.matrix import as_matrix
from hf_compress._modules.modes import evaluation_mode
from hf_compress.calibration.chains import forward_arguments


def loss_change(
    model: nn.Module, modules: Mapping[str, nn.Module], batches: Iterable[Mapping[str, Any]], groups: int | None = None
) -> dict[str, Tensor]:
    """score_j = mean over batches of (sum over w in part j of w * dL/dw)**2: how far the loss moves where j becomes zero.

    The weights of a part are the column that reads it. By the chain rule the sum is that of x_j * dL/dx_j over all tokens,
    x_j the value that the column reads, so it is the first-order term of setting that value to zero. Of a norm a part is a
    channel, with its bias.

    Source: Molchanov et al. 2019, Importance Estimation for Neural Network Pruning, eq. 8, and its gates.

    Args:
        model: gives a loss; evaluation mode, its gradients and what is frozen end as they were.
        modules: to look at, by name: such with a column for each part, or norms.
        batches: keyword arguments of the model with labels; of several processes each brings its own.
        groups: neighbouring columns that go together are one part, and there are so many of these; None: each by itself.

    Returns:
        Name -> (parts,) fp32.

    Raises:
        CompressionError: a batch gives no loss, or one that is not finite.
    """
    owned = {name: _parameters(module) for name, module in modules.items()}

    def moved(name: str, products: list[Tensor]) -> Tensor:
        columns = _columns(modules[name], products)
        return columns if groups is None else columns.unflatten(0, (groups, -1)).sum(1)

    return _squares(model, owned, moved, batches)


def expert_unit_loss_change(
    model: nn.Module, modules: Mapping[str, nn.Module], output: str, batches: Iterable[Mapping[str, Any]]
) -> dict[str, Tensor]:
    """The same of the units of each expert of packed ones.

    Args:
        model: see `loss_change`.
        modules: that hold the experts, by name.
        output: their tensor of shape (E, H, units).
        batches: see `loss_change`.

    Returns:
        Name -> (E, units) fp32.
    """
    owned = {name: [module.get_parameter(output)] for name, module in modules.items()}
    return _squares(model, owned, lambda _, products: products[0].float().sum(1), batches)


def _squares(
    model: nn.Module,
    owned: Mapping[str, list[nn.Parameter]],
    moved: Callable[[str, list[Tensor]], Tensor],
    batches: Iterable[Mapping[str, Any]],
) -> dict[str, Tensor]:
    """Mean over batches of what `moved` makes of the products w * dL/dw of each, squared."""
    parameters = [parameter for own in owned.values() for parameter in own]
    frozen = [parameter for parameter in parameters if not parameter.requires_grad]
    sums: dict[str, Tensor] = {}
    count = 0
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        with evaluation_mode(model), torch.enable_grad():
            for batch in batches:
                loss = _loss(model, on_device(batch, parameters[0].device), count)
                gradients = iter(torch.autograd.grad(loss, parameters, allow_unused=True))
                for name, own in owned.items():
                    square = moved(name, [_product(one, next(gradients)) for one in own]).double().square().cpu()
                    sums[name] = sums[name] + square if name in sums else square
                count += 1
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
    everyone = _distributed.gather((sums, count))
    total = sum(number for _, number in everyone)
    return {name: (torch.stack([one[name] for one, _ in everyone if one]).sum(0) / total).float() for name in owned}


def _parameters(module: nn.Module) -> list[nn.Parameter]:
    """The weight; of a norm with the bias that goes with a channel."""
    weight: nn.Parameter = module.weight  # type: ignore[assignment]
    bias = getattr(module, "bias", None)
    return [weight, bias] if weight.dim() == 1 and isinstance(bias, nn.Parameter) else [weight]


@torch.no_grad()
def _product(parameter: nn.Parameter, gradient: Tensor | None) -> Tensor:
    """The parameter times its gradient; zero where the loss does not look at it."""
    return torch.zeros_like(parameter) if gradient is None else parameter * gradient


def _columns(module: nn.Module, products: list[Tensor]) -> Tensor:
    """The sum for each column, (I,), or of a norm for each channel, (C,)."""
    if products[0].dim() == 1:
        return torch.stack([product.float() for product in products]).sum(0)
    return as_matrix(module, products[0]).float().sum(0)


def _loss(model: nn.Module, batch: Mapping[str, Any], number: int) -> Tensor:
    loss = getattr(model(**forward_arguments(model, batch)), "loss", None)
    if not isinstance(loss, Tensor):
        raise CompressionError(
            f"importance='taylor' asks how the loss changes, and batch {number} gives {type(model).__name__} none; add"
            " labels to the batches, or choose importance='activations'"
        )
    if not bool(loss.isfinite()):
        raise CompressionError(f"importance='taylor': the loss of batch {number} is {loss.item()}; give others")
    return loss
