"""Linear layers."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional

from hf_compress._modules.kinds import linear
from hf_compress._modules.module_kind import ModuleKind
from hf_compress.quantization.quantizable import FakeQuantized, Quantizable


class FakeQuantizedLinear(FakeQuantized, nn.Linear):
    """A Linear that sees quantized weights."""

    matrix_kind: ClassVar[ModuleKind] = linear.Linear()

    def forward(self, input: Tensor) -> Tensor:
        """(..., I) -> (..., O)."""
        return functional.linear(self.seen_input(input), self.seen_weight(), self.bias)


@dataclass(frozen=True, kw_only=True)
class QuantizableLinear(Quantizable, name="linear"):
    """y = x W^T + b."""

    replaces: ClassVar[type[nn.Module]] = nn.Linear
    fake: ClassVar[type[FakeQuantized]] = FakeQuantizedLinear
