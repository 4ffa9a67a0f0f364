"""The contract of a module that can be trained quantized."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor, nn

from hf_compress._modules.module_kind import ModuleKind
from hf_compress._registry import Strategy
from hf_compress.quantization.fake_quantize import fake_quantize_input, fake_quantize_weight

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationScheme


class FakeQuantized(nn.Module):
    """Base of the modules whose forward sees quantized weights (and inputs, where the scheme says so).

    A module becomes one by changing its class, so parameter names, state dicts and optimizers stay as they were. A subclass
    is one of these and of the class it stands for, and writes the forward of that class with `seen_weight` and `seen_input`
    in the places of the two.

    Attributes:
        matrix_kind: where the (O, I) matrix in its weight is.
        qat_scheme: how its numbers are stored.
        qat_enabled: whether the forward is quantized.
    """

    matrix_kind: ClassVar[ModuleKind]
    qat_scheme: "QuantizationScheme"
    qat_enabled: bool
    weight: Tensor

    def seen_weight(self) -> Tensor:
        """The weight that the forward computes with."""
        args = self.qat_scheme.weights
        if not self.qat_enabled or args is None:
            return self.weight
        matrix = fake_quantize_weight(self.matrix_kind.matrix(self.weight), args)
        return self.matrix_kind.stored(matrix, self.weight.shape)

    def seen_input(self, input: Tensor) -> Tensor:
        """(..., I): the input that the forward computes with."""
        args = self.qat_scheme.input_activations
        return input if not self.qat_enabled or args is None else fake_quantize_input(input, args, self)


@dataclass(frozen=True, kw_only=True)
class Quantizable(Strategy, kind="quantizable module", package="hf_compress.quantization.modules"):
    """A class of modules that can be trained quantized.

    Which formats can hold it is not said here: a format is asked with the module and its scheme.

    Attributes:
        replaces: the class whose forward it stands for; subclasses with a forward of their own are left dense.
        fake: what a module becomes while it trains; a subclass of `replaces`.
    """

    replaces: ClassVar[type[nn.Module]]
    fake: ClassVar[type[FakeQuantized]]

    def obstacle(self, module: nn.Module, scheme: "QuantizationScheme") -> str:
        """Why this module cannot be quantized in this scheme, and the way out; empty where it can."""
        return ""


def quantizable(module: nn.Module) -> Quantizable | None:
    """The kind of a module that can be quantized, or is prepared for it; None for every other one."""
    for kind in Quantizable.members():
        if isinstance(module, kind.replaces) and type(module).forward in (kind.replaces.forward, kind.fake.forward):
            return kind
    return None


def quantizable_classes() -> str:
    """The classes that can be quantized, as a message names them: "Linear", "Conv2d and Linear"."""
    names = sorted(kind.replaces.__name__ for kind in Quantizable.members())
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)


def prepared(modules: Iterable[tuple[str, nn.Module]]) -> dict[str, FakeQuantized]:
    """Those of `model.named_modules()` that are prepared for quantization."""
    return {name: module for name, module in modules if isinstance(module, FakeQuantized)}


def make_plain(module: nn.Module) -> None:
    """A prepared module becomes an ordinary one again, in place."""
    kind = quantizable(module)
    if kind is not None and isinstance(module, FakeQuantized):
        module.__class__ = kind.replaces  # type: ignore[assignment]
        del module.qat_scheme, module.qat_enabled
