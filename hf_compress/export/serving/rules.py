"""What vLLM asks of a quantized checkpoint, a function each: module names and schemes in, sentences out.

Sources, of the repository vllm-project/vllm, read in November 2026, below vllm/model_executor/layers/quantization/:
compressed_tensors/utils.py (fused layers), compressed_tensors/compressed_tensors.py (schemes, key-value cache),
utils/marlin_utils.py (shapes).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hf_compress._problems import and_more
from hf_compress.checkpoints.dequantized import FORMATS
from hf_compress.export.serving.schemes import described, plain, served_as

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationScheme

Schemes = Mapping[str, "QuantizationScheme"]
Shapes = Mapping[str, tuple[int, ...]]

FUSED = (("q_proj", "k_proj", "v_proj"), ("gate_proj", "up_proj"))
"""Matrices that vLLM's models read as one, as its decoders name them (`packed_modules_mapping`)."""
THREADS = ((64, 128), (128, 64))
"""(outputs, inputs) of which a Marlin kernel takes multiples; current releases pad what fits neither."""


def known_schemes(schemes: Schemes) -> Iterator[str]:
    """Every scheme is one that vLLM has a layer for."""
    found: dict[str, list[str]] = defaultdict(list)
    for name, scheme in schemes.items():
        if served_as(scheme) is None:
            found[described(scheme)].append(name)
    for text, names in found.items():
        yield f"vLLM has no layer for {text} ({and_more(names, 2)}); quantize to W4A16, W8A16, W8A8 or FP8_DYNAMIC"


def group_sizes(schemes: Schemes) -> Iterator[str]:
    """Groups have a size that a kernel has."""
    found: dict[tuple[int, tuple[int, ...]], list[str]] = defaultdict(list)
    for name, scheme in schemes.items():
        served, weights = served_as(scheme), scheme.weights
        if served is None or not served.group_sizes or weights is None or plain(weights.strategy) != "group":
            continue
        if weights.group_size not in served.group_sizes:
            found[weights.group_size or 0, served.group_sizes].append(name)
    for (size, known), names in found.items():
        sizes = ", ".join(map(str, known[:-1])) + f" or {known[-1]}"
        yield f"groups of {size} ({and_more(names, 2)}) have no kernel; set scheme.group_size to {sizes}"


def divisible(schemes: Schemes, shapes: Shapes) -> Iterator[str]:
    """Groups divide the inputs, and so do the integers that are packed into 32 bits."""
    for name, scheme in schemes.items():
        weights: Any = scheme.weights
        inputs = shapes[name][-1]
        size = weights.group_size if plain(weights.strategy) == "group" else None
        if size and inputs % size:
            yield f"group_size={size} does not divide the {inputs} inputs of {name}; leave it dense (quantization.ignore)"
        elif plain(scheme.format) == "pack-quantized" and inputs % (32 // weights.num_bits):
            packed = 32 // weights.num_bits
            yield (
                f"{packed} integers are packed into one, and {name} has {inputs} inputs; leave it dense"
                " (quantization.ignore)"
            )


def fused(schemes: Schemes, modules: Iterable[str]) -> Iterator[str]:
    """What is read as one matrix has one scheme, or is dense as a whole."""
    parents: dict[tuple[str, int], dict[str, str]] = defaultdict(dict)
    for name in modules:
        parent, _, last = name.rpartition(".")
        for index, group in enumerate(FUSED):
            if last in group:
                scheme = schemes.get(name)
                parents[parent, index][last] = "dense" if scheme is None else _signature(scheme)
    for (parent, _), members in parents.items():
        if len(set(members.values())) > 1:
            listed = ", ".join(f"{name}: {kind}" for name, kind in members.items())
            yield (
                f"vLLM reads {' and '.join(members)} of {parent} as one matrix, and they differ ({listed}); give them one"
                " scheme"
            )


def heads(schemes: Schemes, tied: bool, heads_and_tables: Iterable[str]) -> Iterator[str]:
    """Heads and embeddings are dense."""
    for name in heads_and_tables:
        if name in schemes:
            why = "shares its weight with the embeddings" if tied else "is read dense by most releases of vLLM"
            yield f"{name} is quantized, and {why}; add it to quantization.ignore"


def cache(settings: Mapping[str, Any]) -> Iterator[str]:
    """A scheme for the key-value cache is float8 with one scale per tensor."""
    given = settings.get("kv_cache_scheme")
    if given and (given.get("type"), given.get("num_bits"), given.get("strategy"), given.get("symmetric")) != (
        "float",
        8,
        "tensor",
        True,
    ):
        yield "kv_cache_scheme is not symmetric float8 by tensor, which is the only one that vLLM takes; leave it out"


def sparsity(settings: Mapping[str, Any]) -> Iterator[str]:
    """No tensors are stored sparse."""
    form = (settings.get("sparsity_config") or {}).get("format", "dense")
    if form != "dense":
        yield f"sparsity_config has the format {form!r}, which current releases do not read; store zeros dense"


def known_formats(settings: Mapping[str, Any]) -> Iterator[str]:
    """Tensors are stored in a format whose rules are known here; vLLM has more."""
    groups = (settings.get("config_groups") or {}).values()
    found = {str(group.get("format") or settings.get("format")) for group in groups if isinstance(group, Mapping)}
    for form in sorted(found - set(FORMATS)):
        yield f"the rules for the format {form!r} are not known here; ask vLLM's own documentation"


def padded(schemes: Schemes, shapes: Shapes) -> Iterator[str]:
    """A note: shapes that Marlin takes only padded."""
    names = [
        name
        for name, scheme in schemes.items()
        if plain(scheme.format) == "pack-quantized"
        and not any(shapes[name][0] % outputs == 0 and shapes[name][-1] % inputs == 0 for outputs, inputs in THREADS)
    ]
    if names:
        yield (
            f"{and_more(names, 2)}: sizes are no multiples of (64, 128) or (128, 64); current releases pad them, older ones"
            " refuse them"
        )


def _signature(scheme: "QuantizationScheme") -> str:
    weights: Any = scheme.weights
    size = f" of {weights.group_size}" if plain(weights.strategy) == "group" else ""
    return described(scheme).replace(", activations as they are", "") + size
