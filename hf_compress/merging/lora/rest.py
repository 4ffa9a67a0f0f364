"""What differs between two models beside the layers with factors, and what of it an adapter can carry whole."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress.checkpoints.names import ModelNames
from hf_compress.checkpoints.source import Source


@dataclass
class Rest:
    """Weights that differ and have no factors.

    Attributes:
        whole: parameter -> the tuned tensor, to be saved.
        modules: what PEFT must replace as modules_to_save.
        biases: of layers with factors, which PEFT trains with bias="all".
        lost: tensor -> why the adapter does not carry it.
        lost_square: squared Frobenius norm of those changes.
    """

    whole: dict[str, Tensor] = field(default_factory=dict)
    modules: tuple[str, ...] = ()
    biases: tuple[str, ...] = ()
    lost: dict[str, str] = field(default_factory=dict)
    lost_square: float = 0.0


def find_rest(
    model: nn.Module,
    names: ModelNames,
    before: Source,
    after: Source,
    base_names: ModelNames,
    targeted: Mapping[str, nn.Module],
    *,
    save: bool,
) -> Rest:
    """Compare every other tensor of the two models.

    Args:
        model: without weights.
        names: of `after` in that model.
        before: the base.
        after: the tuned model.
        base_names: of `before` in that model.
        targeted: modules with factors.
        save: carry what can be carried; otherwise everything is lost.

    Raises:
        CompressionError: a tensor that differs is not finite.
    """
    rest = Rest()
    parameter_of = {tensor: parameter for parameter, tensor in names.tensor_of.items()}
    weights = {f"{module}.weight" for module in targeted}
    modules: set[str] = set()
    biases = []
    for tensor in after.infos:
        parameter = parameter_of.get(tensor)
        if parameter in weights:
            continue
        value = after.read(tensor)
        old = base_names.tensor_of.get(parameter) if parameter is not None else tensor if tensor in before.infos else None
        base = before.read(old) if old is not None else None
        if base is not None and base.shape == value.shape and torch.equal(base.to(value.dtype), value):
            continue
        owner = parameter.rpartition(".")[0] if parameter is not None else ""
        reason = "rest: report" if not save else _refusal(model, names, parameter, owner, targeted, base, value)
        if not all(bool(torch.isfinite(one).all()) for one in (value, base) if one is not None):
            raise CompressionError(f"{parameter or tensor} holds NaN or infinity in one of the models")
        if reason is not None:
            rest.lost[tensor] = reason
            same = base is not None and base.shape == value.shape
            change = value.double() - base.double() if same and base is not None else value.double()
            rest.lost_square += float(change.square().sum())
        elif owner in targeted and parameter is not None:
            biases.append(parameter)
            rest.whole[parameter] = value
        else:
            modules.add(owner)
    rest.modules, rest.biases = tuple(sorted(_closed(model, modules))), tuple(biases)
    for parameter, tensor in names.tensor_of.items():
        if any(parameter.startswith(f"{module}.") for module in rest.modules):
            rest.whole[parameter] = after.read(tensor)
    for tensor in _base_alone(names, before, after, base_names):
        rest.lost[tensor] = "the tuned model has none"
        rest.lost_square += float(before.read(tensor).double().square().sum())
    return rest


def _base_alone(names: ModelNames, before: Source, after: Source, base_names: ModelNames) -> list[str]:
    """Tensors that the base computes with and the tuned model has no counterpart for, or another one by tying."""
    own = ModelNames(before.config, before.infos, before.place)
    compared = {tensor for parameter, tensor in base_names.tensor_of.items() if parameter in names.tensor_of}
    compared |= {tensor for tensors in base_names.rearranged.values() for tensor in tensors}
    parameter_of = {tensor: parameter for parameter, tensor in base_names.tensor_of.items()}
    found = []
    for tensor in (*own.tensor_of.values(), *(name for tensors in own.rearranged.values() for name in tensors)):
        if tensor in compared or tensor in after.infos:
            continue
        group = names.tied_group(parameter_of.get(tensor, ""))
        shared = next((names.tensor_of[item] for item in group if item in names.tensor_of), None)
        if shared is None or not torch.equal(before.read(tensor), after.read(shared).to(before.infos[tensor].dtype)):
            found.append(tensor)
    return found


def _refusal(
    model: nn.Module,
    names: ModelNames,
    parameter: str | None,
    owner: str,
    targeted: Mapping[str, nn.Module],
    base: Tensor | None,
    value: Tensor,
) -> str | None:
    """Why PEFT cannot carry the tensor whole; None where it can."""
    if parameter is None:
        return "stored together with other weights, or not part of the class"
    if len(names.tied_group(parameter)) > 1:
        return "shared by two modules, of which PEFT would replace one"
    if owner in targeted:
        return None if base is not None and base.shape == value.shape else "a bias that the base does not have"
    if not owner:
        return "belongs to the whole model"
    for wrapped in _closed(model, {owner}):
        if any(module == wrapped or module.startswith(f"{wrapped}.") for module in targeted):
            return f"PEFT would replace {wrapped}, which holds layers with factors"
        if any(name.startswith(f"{wrapped}.") for pair in names.tied.items() for name in pair):
            return f"PEFT would replace {wrapped}, whose weight is shared"
    return None


def _closed(model: nn.Module, modules: set[str]) -> set[str]:
    """Modules that PEFT would wrap as well, because it compares only the end of names; without those inside others."""
    found = {name for name, _ in model.named_modules() if any(name.endswith(module) for module in modules)}
    return {name for name in found if not any(name.startswith(f"{other}.") for other in found)}
