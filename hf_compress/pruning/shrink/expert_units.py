"""What the feed-forward units of experts are worth, whose weights are tensors with a matrix for each expert."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress import _distributed
from hf_compress._forward.batch import on_device
from hf_compress._modules.hooks import removed_afterwards
from hf_compress._modules.modes import evaluating_without_gradients
from hf_compress.calibration.chains import forward_arguments
from hf_compress.calibration.input_rows import masks_of, rows_of

logger = logging.getLogger(__name__)


@torch.no_grad()
def expert_unit_importance(inputs: Tensor, output: Tensor) -> Tensor:
    """score_eu = ||g_eu||**2 + ||w_eu||**2 + ||v_eu||**2, all that goes with unit u of expert e; 0 where one of them is 0.

    Args:
        inputs: (E, 2 U, H), of each expert the rows g of the gate before the rows w that it is multiplied with.
        output: (E, H, U), columns v.

    Returns:
        (E, U) fp32.
    """
    rows = inputs.float().unflatten(1, (2, -1)).square().sum(-1)  # (E, 2, U)
    parts = torch.cat([rows, output.float().square().sum(1, keepdim=True)], dim=1)
    return parts.sum(1) * (parts != 0).all(1)


def expert_unit_writing(
    model: nn.Module,
    experts: Mapping[str, nn.Module],
    tensors: tuple[str, str],
    batches: Iterable[Mapping[str, Any]],
    called: Sequence[str] | None = None,
) -> dict[str, Tensor]:
    """score_eu = ||r_e x_eu|| * ||v_eu|| over the tokens that reach expert e, r being the router's weight of a token.

    That is the Frobenius norm of what goes missing with the unit. An expert that no token reaches is scored by its weights,
    and named in a warning.

    Args:
        model: runs over the batches, in evaluation mode.
        experts: modules of it by name, called with hidden states (N, H), the experts of each token (N, K) and the router's
            weights of these (N, K); their `act_fn` is the gate's.
        tensors: the names in them of the tensors of `expert_unit_importance`.
        batches: keyword arguments of the model; of several processes each brings its own.
        called: what the warning calls them, in their order; their names without.

    Returns:
        By name, (E, U) fp32.
    """
    squares: dict[str, Tensor] = {}
    masks: list[Tensor] = []

    def hook_of(name: str) -> Any:
        def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
            rows, chosen, weights = (rows_of(name, module, one, masks) for one in args[:3])
            inputs, output = (module.get_parameter(tensor) for tensor in tensors)
            total = squares.setdefault(name, torch.zeros(len(inputs), output.shape[2], device=inputs.device))
            for expert in chosen.unique().tolist():
                token, place = (chosen == expert).nonzero(as_tuple=True)
                gate, other = nn.functional.linear(rows[token], inputs[expert]).chunk(2, dim=-1)
                written = module.act_fn(gate) * other * weights[token, place, None]  # type: ignore[operator]
                total[expert] += written.float().square().sum(0)

        return hook

    hooks = [module.register_forward_pre_hook(hook_of(name)) for name, module in experts.items()]
    with removed_afterwards(hooks), torch.no_grad(), evaluating_without_gradients(model):
        device = next(model.parameters()).device
        for batch in batches:
            masks[:] = masks_of(model, batch)
            model(**forward_arguments(model, on_device(batch, device)))
    everyone = _distributed.gather({name: total.cpu() for name, total in squares.items()})
    return {
        name: _scores(said, module, tensors, [one[name] for one in everyone])
        for said, (name, module) in zip(called or experts, experts.items(), strict=True)
    }


@torch.no_grad()
def _scores(name: str, module: nn.Module, tensors: tuple[str, str], squares: list[Tensor]) -> Tensor:
    """(E, U), of the sums of all processes; added up in one order, all end with the same bits."""
    inputs, output = (module.get_parameter(tensor) for tensor in tensors)
    written = torch.stack(squares).sum(0).to(output.device).sqrt() * output.float().norm(dim=1)
    unseen = (written == 0).all(1)
    if bool(unseen.any()):
        logger.warning(
            "%s: no token of the batches reaches experts %s, so their units are chosen by the norms of their weights",
            name,
            ", ".join(map(str, unseen.nonzero().flatten().tolist())),
        )
    return torch.where(unseen[:, None], expert_unit_importance(inputs, output), written)
