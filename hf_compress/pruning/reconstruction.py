"""Local reconstruction: the weights that stay are fitted to what a part of a block gave before it was pruned."""

import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from hf_compress import _distributed
from hf_compress._errors import CompressionError
from hf_compress._kinds import CheckedKinds
from hf_compress._modules.hooks import removed_afterwards
from hf_compress._modules.matrix import as_stored
from hf_compress.calibration.chains import first_tensor
from hf_compress.calibration.in_order import Part
from hf_compress.calibration.input_rows import masks_of

logger = logging.getLogger(__name__)

_TINY = 1e-30
"""Instead of 0, where a part gives nothing but zeros."""
Scope = Literal["attention", "mlp", "both", "block"]


@dataclass(frozen=True, kw_only=True)
class Reconstruction(metaclass=CheckedKinds):
    r"""Fits the weights that stay, part of a block by part of a block, behind the blocks that are finished.

    For a part with inputs x (of the calibration, as the finished blocks give them), outputs f(x) before it was pruned,
    weights W and masks M, Adam minimises

        E ||f_{W * M}(x) - f(x)||^2 / E ||f(x)||^2.

    Weights that miss it by more than at the beginning are not taken.

    Attributes:
        scope: "attention" and "mlp" are those parts alone, "both" each of the two by itself, "block" the block as a whole.
        steps: of Adam for each part; a step sees one batch of the calibration.
        learning_rate: at first; falls to 0 along a cosine.

    Source: Wagner et al. 2025, https://arxiv.org/abs/2510.14444.
    """

    scope: Scope = "both"
    steps: int = 200
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise CompressionError(f"reconstruct.steps={self.steps} must be 1 or more")
        if not self.learning_rate > 0:
            raise CompressionError(f"reconstruct.learning_rate={self.learning_rate:g} must be above 0")


@dataclass(kw_only=True)
class Unit:
    """A part of a block that is fitted by itself, and what it is to give.

    Attributes:
        name: of the module.
        module: the part.
        layers: pruned ones in it, by name.
        calls: what it is called with, and what it gave, for each call; and which rows count, None = all.
    """

    name: str
    module: nn.Module
    layers: dict[str, nn.Module]
    calls: list[tuple[tuple[Any, ...], dict[str, Any], Tensor, Tensor | None]]


def check_reconstruction() -> None:
    """Refuse more than one process.

    Raises:
        CompressionError: there are several.
    """
    if _distributed.world_size() > 1:
        _distributed.refuse_in_all("reconstruct fits weights in one process; start it with one, or leave reconstruct out")


def record(part: Part, model: nn.Module, scope: Scope) -> list[Unit]:
    """What the parts of a block give as long as nothing in it is pruned.

    Args:
        part: a block with pruned layers.
        model: whose block it is.
        scope: which parts.
    """
    units = [
        Unit(name=name, module=module, layers=own, calls=[])
        for name, module in _modules(part, scope)
        if (own := {layer: one for layer, one in part.layers.items() if layer == name or layer.startswith(f"{name}.")})
    ]
    for call in part.calls:
        masks = masks_of(model, call.batch)

        def keep(unit: Unit, masks: Sequence[Tensor] = masks) -> Callable[..., None]:
            def after(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
                gave = first_tensor(output)
                if gave is not None:
                    rows = next((mask for mask in masks if mask.shape == gave.shape[:-1]), None)
                    unit.calls.append((args, dict(kwargs), gave.detach(), rows))

            return after

        hooks = [unit.module.register_forward_hook(keep(unit), with_kwargs=True) for unit in units]
        with removed_afterwards(hooks):
            part.module(*call.args, **call.kwargs)
    return [unit for unit in units if unit.calls]


def fit(unit: Unit, masks: Mapping[str, Tensor], asked: Reconstruction) -> tuple[float, float]:
    """Fit the weights that stay.

    Args:
        unit: recorded before it was pruned, and pruned since.
        masks: (O, I) bool by layer name, True = keep.
        asked: how long and how fast.

    Returns:
        The loss over all calls before and after; the same where the fitted weights were not better.
    """
    weights: dict[str, Any] = {name: module.weight for name, module in unit.layers.items()}
    stored = {name: as_stored(module, masks[name]).float() for name, module in unit.layers.items()}
    begun = {name: weight.detach().clone() for name, weight in weights.items()}
    before = _loss_of_all(unit)
    with _trained(unit.module, list(weights.values())):
        fused = all(weight.device.type in ("cpu", "cuda") for weight in weights.values())
        optimizer = torch.optim.Adam(list(weights.values()), lr=asked.learning_rate, fused=fused)
        falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, asked.steps)
        for step in range(asked.steps):
            with torch.enable_grad():
                missed, size = _missed(unit, step % len(unit.calls))
                (missed / size).backward()
            for name, weight in weights.items():
                if weight.grad is not None:
                    weight.grad.mul_(stored[name])
            optimizer.step()  # a zero stays one: its gradient is 0 in every step, and so are its moments
            optimizer.zero_grad()
            falling.step()
    after = _loss_of_all(unit)
    if not after < before:  # NaN too
        logger.warning(
            "%s: fitting took its loss from %.4g to %.4g, so the weights stay as they were", unit.name, before, after
        )
        for name, weight in weights.items():
            weight.data.copy_(begun[name])
        after = before
    return before, after


@torch.no_grad()
def _loss_of_all(unit: Unit) -> float:
    parts = [_missed(unit, place) for place in range(len(unit.calls))]
    return sum(float(missed) for missed, _ in parts) / max(sum(float(size) for _, size in parts), _TINY)


def _missed(unit: Unit, place: int) -> tuple[Tensor, Tensor]:
    """Of one call, the squares of what is missed and of what is wanted, over the rows that count."""
    args, kwargs, wanted, rows = unit.calls[place]
    weight: Any = next(iter(unit.layers.values())).weight
    found = first_tensor(unit.module(*_cast(args, weight.dtype), **_cast(kwargs, weight.dtype)))
    assert found is not None
    if rows is not None:
        found, wanted = found[rows], wanted[rows]
    return (found.float() - wanted.float()).square().sum(), wanted.float().square().sum().clamp_min(_TINY)


@contextlib.contextmanager
def _trained(module: nn.Module, weights: Sequence[nn.Parameter]) -> Iterator[None]:
    """In fp32, with gradients of these weights and of no others; afterwards everything has its type and setting again."""
    tensors = [*module.parameters(), *module.buffers()]
    known = [(one, one.dtype, one.requires_grad) for one in tensors]
    chosen = {id(one) for one in weights}
    try:
        for one in tensors:
            if one.is_floating_point():
                one.data = one.data.float()
                one.requires_grad_(id(one) in chosen)
        yield
    finally:
        for one, dtype, trains in known:
            one.grad = None
            one.data = one.data.to(dtype)
            one.requires_grad_(trains)


def _cast(value: Any, dtype: torch.dtype) -> Any:
    """Floating-point tensors in another type, wherever they lie in what a module is called with."""
    if isinstance(value, Tensor):
        return value.to(dtype) if value.is_floating_point() else value
    if isinstance(value, dict):
        return {key: _cast(one, dtype) for key, one in value.items()}
    return type(value)(_cast(one, dtype) for one in value) if type(value) in (list, tuple) else value


def _modules(part: Part, scope: Scope) -> list[tuple[str, nn.Module]]:
    """The parts of a block that are fitted, in the order in which the block names them."""
    if scope == "block":
        return [(part.name, part.module)]
    found = []
    for name, child in _children(part.name, part.module):
        attends = "att" in name.removeprefix(part.name).lower() or "attention" in type(child).__name__.lower()
        if scope == "both" or attends == (scope == "attention"):
            found.append((name, child))
    return found


def _children(prefix: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """Direct children by their full names; members of lists in the place of the lists."""
    for name, child in module.named_children():
        own = f"{prefix}.{name}"
        if isinstance(child, nn.ModuleList):
            yield from _children(own, child)
        else:
            yield own, child
