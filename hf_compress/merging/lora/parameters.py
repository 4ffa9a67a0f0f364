"""Adapters on parameters that are no weight of a Linear: the packed experts of a mixture (PEFT's target_parameters)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress.merging.lora.scale import pattern_value, scale_of
from hf_compress.merging.lora.target_parameters import without_wrappers

if TYPE_CHECKING:
    from hf_compress.merging.lora.adapter import Adapter


@dataclass(frozen=True, kw_only=True)
class ParameterLayer:
    """One adapted parameter.

    Attributes:
        parameter: its name in the model.
        rank: R.
        scale: as of other layers.
        shape: of the parameter: (E, O, I), with `transposed` (E, I, O), or (O, I) where E is 1.
        transposed: experts compute with x @ W.
        keys: role (a, b) -> tensor in the adapter's file: A is (E*R, I), expert by expert, and B (O, R*E), whose columns
            change their expert fastest.
    """

    parameter: str
    rank: int
    scale: float
    shape: tuple[int, ...]
    transposed: bool
    keys: Mapping[str, str]

    def delta(self, adapter: "Adapter") -> Tensor:
        """Scale * B_e @ A_e for every expert e, in fp32 and the parameter's shape."""
        b, a = (adapter.read(self.keys[role]).float() for role in ("b", "a"))
        experts = self.shape[0] if len(self.shape) == 3 else 1
        # (E, O, R) @ (E, R, I)
        change = b.reshape(b.shape[0], self.rank, experts).permute(2, 0, 1) @ a.reshape(experts, self.rank, a.shape[1])
        return (change.transpose(1, 2) if self.transposed else change).mul(self.scale).reshape(self.shape)


def parameter_layers(adapter: "Adapter", model: nn.Module | None) -> list[ParameterLayer]:
    """The adapter's factors on parameters, each with the one it belongs to.

    PEFT wraps the parameters of a module one after the other, in the module's order; the outermost factors are the last's.

    Raises:
        CompressionError: the class is not known, or has other parameters than there are factors.
    """
    found = []
    for module in sorted({without_wrappers(name) for name in adapter.packed}):
        names = sorted((name for name in adapter.packed if without_wrappers(name) == module), key=len, reverse=True)
        if model is None:
            raise CompressionError(
                f"{adapter.place}: target_parameters adapts parameters of {module}, and which they are only the model's"
                " class says; merge it with PEFT"
            )
        parameters = _targeted(module, model, adapter.config["target_parameters"])
        if len(parameters) != len(names):
            raise CompressionError(
                f"{adapter.place}: {module} has {len(parameters)} parameters that target_parameters names, and the adapter"
                f" has factors for {len(names)}; it belongs to another base, or to another release of transformers"
            )
        for name, (parameter, shape) in zip(names, parameters.items(), strict=True):
            found.append(
                _layer(adapter, adapter.packed[name], f"{module}.{parameter}", shape, _is_transposed(model, module))
            )
    return found


def _targeted(module: str, model: nn.Module, targets: list[str]) -> dict[str, tuple[int, ...]]:
    """The module's own parameters that are adapted, in its order, with their shapes."""
    try:
        own = model.get_submodule(module).named_parameters(recurse=False)
    except AttributeError:
        return {}
    keys = {name: f"{module}.{name}" for name, _ in own}
    shapes = {name: tuple(tensor.shape) for name, tensor in model.get_submodule(module).named_parameters(recurse=False)}
    return {
        name: shapes[name] for name, key in keys.items() if any(key == one or key.endswith(f".{one}") for one in targets)
    }


def _layer(
    adapter: "Adapter", keys: Mapping[str, str], parameter: str, shape: tuple[int, ...], transposed: bool
) -> ParameterLayer:
    rank = pattern_value(adapter.config.get("rank_pattern") or {}, parameter, adapter.config["r"])
    experts, rows, columns = shape if len(shape) == 3 else (1, *shape) if len(shape) == 2 else (0, 0, 0)
    swapped = transposed and len(shape) == 3
    inputs, outputs = (rows, columns) if swapped else (columns, rows)
    a, b = adapter.shape(keys["a"]), adapter.shape(keys["b"])
    if a != (experts * rank, inputs) or b != (outputs, rank * experts):
        raise CompressionError(
            f"{adapter.place}: {parameter} has A {list(a)} and B {list(b)}, and for {list(shape)} at rank {rank} they are"
            f" [{experts * rank}, {inputs}] and [{outputs}, {rank * experts}]; the adapter belongs to another base"
        )
    scale = scale_of(adapter.config, parameter, rank, adapter.place)
    return ParameterLayer(parameter=parameter, rank=rank, scale=scale, shape=shape, transposed=swapped, keys=keys)


def _is_transposed(model: nn.Module, module: str) -> bool:
    """Whether the experts' weights are (E, I, O), as their class says."""
    return bool(getattr(model.get_submodule(module), "is_transposed", False))
