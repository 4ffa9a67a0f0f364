"""What an adapter does to one tensor of a checkpoint, and how many of its zeros it takes."""

import dataclasses

from hf_compress.merging.lora.adapter import LoraLayer
from hf_compress.merging.lora.parameters import ParameterLayer
from hf_compress.merging.lora.tokens import TokenRows


@dataclasses.dataclass(frozen=True, kw_only=True)
class ZeroCount:
    """Zeros of the base in the weights that an adapter's factors change, of the tensors read so far.

    Attributes:
        elements: of those weights.
        zeros: in the base.
        lost: zeros that the adapter makes non-zero; with `keep_zeros` they were set to 0 again.
    """

    elements: int = 0
    zeros: int = 0
    lost: int = 0

    def __add__(self, other: "ZeroCount") -> "ZeroCount":
        return ZeroCount(
            elements=self.elements + other.elements, zeros=self.zeros + other.zeros, lost=self.lost + other.lost
        )


@dataclasses.dataclass
class Change:
    """What happens to one tensor, in this order.

    Attributes:
        whole: the adapter's tensor that replaces it; None = the base's stays.
        layer: whose factors are added.
        role: what the tensor is in that layer: "weight" or "bias".
        transposed: the tensor is (I, O).
        rearranged: the parameter that is stored in parts, of which this is one.
        packed: factors on a parameter of experts, instead of a layer's.
        tokens: rows that are replaced.
    """

    whole: str | None = None
    layer: LoraLayer | None = None
    role: str = "weight"
    transposed: bool = False
    rearranged: str | None = None
    packed: ParameterLayer | None = None
    tokens: TokenRows | None = None
