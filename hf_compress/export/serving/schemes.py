"""Which schemes of compressed-tensors vLLM has a layer for: its decision, written as a table.

Source: vLLM, `CompressedTensorsConfig._get_scheme_from_parts` in
vllm/model_executor/layers/quantization/compressed_tensors/compressed_tensors.py, and the page on W4A8 in
docs/features/quantization of the same repository (read in November 2026).
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationScheme


@dataclass(frozen=True, kw_only=True)
class Served:
    """A kind of layer that vLLM has.

    Attributes:
        name: what people call it.
        format: of compressed-tensors.
        type, bits, strategies: of weights, which are symmetric and static.
        inputs: (type, bits, dynamic, strategy) of activations that it takes; empty for weights alone.
        group_sizes: that its kernels have, where weights are in groups; empty for any.
        note: what to mind.
    """

    name: str
    format: str
    type: str
    bits: tuple[int, ...]
    strategies: tuple[str, ...]
    inputs: tuple[tuple[str, int, bool, str], ...] = ()
    group_sizes: tuple[int, ...] = ()
    note: str = ""


MARLIN_GROUPS = (32, 64, 128)
"""Group sizes of the Marlin kernels beside one scale per channel: `MARLIN_SUPPORTED_GROUP_SIZES` in
vllm/model_executor/layers/quantization/utils/marlin_utils.py."""

SERVED = (
    Served(
        name="weights of 4 or 8 bits",
        format="pack-quantized",
        type="int",
        bits=(4, 8),
        strategies=("channel", "group"),
        group_sizes=MARLIN_GROUPS,
    ),
    Served(
        name="W8A8 in int8",
        format="int-quantized",
        type="int",
        bits=(8,),
        strategies=("tensor", "channel"),
        inputs=(("int", 8, True, "token"), ("int", 8, False, "tensor")),
    ),
    Served(
        name="W4A8 in int4 and int8",
        format="int-quantized",
        type="int",
        bits=(4,),
        strategies=("channel", "group"),
        inputs=(("int", 8, True, "token"),),
        note="W4A8 in integers is accelerated on Arm processors; other machines may have no kernel for it",
    ),
    Served(
        name="W8A8 in float8",
        format="float-quantized",
        type="float",
        bits=(8,),
        strategies=("tensor", "channel", "block"),
        inputs=(("float", 8, True, "token"), ("float", 8, False, "tensor")),
        note="float8 activations need a GPU of compute capability 8.9 or more; older ones keep activations in 16 bits",
    ),
    Served(
        name="W8A16 in float8",
        format="float-quantized",
        type="float",
        bits=(8,),
        strategies=("tensor", "channel"),
    ),
)


def served_as(scheme: "QuantizationScheme") -> Served | None:
    """The kind of layer that a stored scheme becomes; None for none."""
    weights: Any = scheme.weights
    if weights is None or not weights.symmetric or weights.dynamic:
        return None
    return next((one for one in SERVED if _is(one, scheme)), None)


def _is(one: Served, scheme: "QuantizationScheme") -> bool:
    weights: Any = scheme.weights
    if (plain(scheme.format), plain(weights.type)) != (one.format, one.type) or weights.num_bits not in one.bits:
        return False
    given: Any = scheme.input_activations
    if given is None:
        fits = not one.inputs
    else:
        fits = (plain(given.type), given.num_bits, bool(given.dynamic), plain(given.strategy)) in one.inputs
    return fits and plain(weights.strategy) in one.strategies


def plain(value: Any) -> str:
    """An enum's value, or the text itself."""
    return str(getattr(value, "value", value))


def described(scheme: "QuantizationScheme") -> str:
    """For sentences: "pack-quantized int3 weights by group, activations as they are"."""
    weights: Any = scheme.weights
    given: Any = scheme.input_activations
    symmetric = "" if weights.symmetric else "asymmetric "
    text = f"{plain(scheme.format)} {symmetric}{plain(weights.type)}{weights.num_bits} weights by {plain(weights.strategy)}"
    if given is None:
        return f"{text}, activations as they are"
    kind = "dynamic" if given.dynamic else "static"
    return f"{text}, {kind} {plain(given.type)}{given.num_bits} activations by {plain(given.strategy)}"
