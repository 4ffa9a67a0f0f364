"""The matrices of experts that one parameter holds together, each as a module of its own: (E, O, I) is E layers.

The experts of transformers are modules without a `weight`: `gate_up_proj` and `down_proj` are 3-D parameters. Whoever works
on {name: module} is given an `ExpertMatrix` for each of their matrices in place of the module that holds them all.
"""

import collections
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from hf_compress._errors import CompressionError
from hf_compress._sharding.contract import Change, full_shape, sharding_of


class ExpertMatrix(nn.Module):
    """One expert's (O, I) matrix in a parameter of all experts.

    It stands beside the model, holds no number and is no part of it: `weight` is made whenever it is asked for and shares
    the memory of the parameter, and its `grad` that of the parameter's gradient, so that both can be changed in place.

    Args:
        experts: the module whose parameter it is.
        parameter_name: of the (E, O, I) parameter in it, (E, I, O) where the experts store their matrices so.
        place: which expert.
    """

    def __init__(self, experts: nn.Module, parameter_name: str, place: int) -> None:
        super().__init__()
        self._held = (experts,)  # in a tuple, or it would be a part of this module
        self.parameter_name, self.place = parameter_name, place

    @property
    def experts(self) -> nn.Module:
        """The module that holds all experts."""
        return self._held[0]

    @property
    def parameter(self) -> Tensor:
        """All experts' matrices."""
        found: Tensor = getattr(self.experts, self.parameter_name)
        return found

    @property
    def weight(self) -> Tensor:
        """(O, I), a leaf that trains where the parameter does."""
        parameter = self.parameter
        found = self.part(parameter.detach())
        if parameter.grad is not None:
            found.grad = self.part(parameter.grad)
        return found.requires_grad_(parameter.requires_grad)

    def part(self, every: Tensor) -> Tensor:
        """This expert's (O, I) of numbers in the parameter's shape, sharing their memory."""
        found = every[self.place]
        return found.t() if self.experts.is_transposed else found

    def forward(self, inputs: Tensor) -> Tensor:
        """(..., I) -> (..., O): what the expert does with it."""
        return functional.linear(inputs, self.weight)


def expert_matrices(name: str, module: nn.Module) -> dict[str, nn.Module]:
    """The matrices of packed experts as modules: `name.down_proj.0`, `name.down_proj.1`, ...; {} for any other module.

    Args:
        name: the module's.
        module: experts say by `is_transposed` how their 3-D parameters lie, as transformers' experts interface wants it.
    """
    if not isinstance(getattr(module, "is_transposed", None), bool):
        return {}
    shapes = {own: full_shape(parameter) for own, parameter in module.named_parameters(recurse=False)}
    return {
        f"{name}.{own}.{place}": ExpertMatrix(module, own, place)
        for own, shape in shapes.items()
        if len(shape) == 3
        for place in range(shape[0])
    }


def unpacked(modules: Mapping[str, nn.Module], ignore: Sequence[str], setting: str) -> dict[str, nn.Module]:
    """The same modules, each with packed experts replaced by their matrices.

    Args:
        modules: by canonical name.
        ignore: names or `re:` patterns; here of matrices, so that a part of them can be left out.
        setting: how the error names it, e.g. "pruning".

    Raises:
        CompressionError: the experts lie in several processes, or in copies of an optimizer's own; or nothing is left.
    """
    from compressed_tensors.utils.match import is_match

    found: dict[str, nn.Module] = {}
    for name, module in modules.items():
        matrices = expert_matrices(name, module)
        if matrices:
            _check_whole(name, module, setting)
        kept = {one: matrix for one, matrix in matrices.items() if not is_match(one, matrix, list(ignore))}
        found.update(kept if matrices else {name: module})
    if not found:
        raise CompressionError(
            f"{setting}: every matrix of the experts that targets match is ignored by ignore={list(ignore)}; name other"
            " targets, or set ignore to []"
        )
    return found


def _check_whole(name: str, module: nn.Module, setting: str) -> None:
    for parameter in module.parameters(recurse=False):
        sharding = sharding_of(parameter)
        if not sharding.general:
            raise CompressionError(
                f"{setting}: {name} holds all experts in one parameter, whose matrices cannot be told apart where"
                f" {sharding.name} lays it out; train in one process or under DDP, or add '{name}' to {setting}.ignore"
            )


def matched_of_packed(modules: Iterable[nn.Module]) -> Mapping[int, int]:
    """How many weights of each parameter of packed experts, by its id, some modules are."""
    found: collections.Counter[int] = collections.Counter()
    for module in modules:
        if isinstance(module, ExpertMatrix):
            found[id(module.parameter)] += full_shape(module.parameter)[1:].numel()
    return found


def parameter_of(module: nn.Module) -> Tensor:
    """The parameter that a layer's matrix lies in: its weight, or that of all experts."""
    found: Tensor = module.parameter if isinstance(module, ExpertMatrix) else module.weight  # type: ignore[assignment]
    return found


@torch.no_grad()
def edit_states(module: nn.Module, optimizer: torch.optim.Optimizer, change: Change) -> None:
    """Change what an optimizer keeps per entry of a layer's matrix; see `Sharding.edit_states`."""
    parameter = parameter_of(module)
    own: Change = (lambda state: change(module.part(state))) if isinstance(module, ExpertMatrix) else change
    sharding_of(parameter).edit_states(parameter, optimizer, own)
