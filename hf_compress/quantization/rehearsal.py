"""Whether plain transformers will load what a quantized model is written as, known before it is trained.

The model is quantized, packed and loaded without memory, through transformers' own loader. That finds architectures
whose weight initialisation reads a `weight` that packed modules do not have, experts that the loader puts together
otherwise than they were stored, and tensors that would come back random.
"""

import contextlib
import copy
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from torch import nn

from hf_compress._dry_run import random_state_kept, skeleton
from hf_compress._errors import CompressionError
from hf_compress._quiet import quiet
from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.scheme import Scheme

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationScheme

UNPACKED = "int-quantized"
"""The format of compressed-tensors that keeps integers under the name `weight`, one byte each."""


def loadable_scheme(model: nn.Module, names: Iterable[str], quantization: Quantization) -> "QuantizationScheme":
    """The scheme as compressed-tensors takes it, with a format that transformers loads for this architecture.

    int8 weights are packed four to a word, and where the architecture does not load those, kept as bytes: the same size and
    the same numbers.

    Args:
        model: dense or on the meta device; one that is no transformers model is not tried.
        names: the modules to quantize.
        quantization: the job.

    Raises:
        CompressionError: no format loads; the sentence names the schemes that do.
    """
    names = list(names)
    scheme = quantization.scheme.to_compressed_tensors(quantization.targets)
    problem = problem_of(model, names, scheme)
    if not problem:
        return scheme
    found = _with_other_format(model, names, scheme)
    if found is not None:
        return found
    others = [kind for kind in Scheme.available() if kind != quantization.scheme.name and _loads(model, names, kind)]
    config: Any = model.config
    raise CompressionError(
        f"quantization: transformers would not load {config.model_type} with scheme {quantization.scheme.name} ({problem});"
        + (f" take {' or '.join(others)}" if others else " prune or distil this model instead")
    )


def _with_other_format(model: nn.Module, names: list[str], scheme: "QuantizationScheme") -> "QuantizationScheme | None":
    """The scheme with bytes in place of words, where that is no larger and loads."""
    if scheme.weights is None or scheme.weights.type != "int" or scheme.weights.num_bits != 8:
        return None
    other = scheme.model_copy(update={"format": UNPACKED})
    return None if problem_of(model, names, other) else other


def _loads(model: nn.Module, names: list[str], kind: str) -> bool:
    """Whether another scheme would do, with groups as small as needed."""
    with contextlib.suppress(CompressionError):
        scheme = Scheme.create(kind).to_compressed_tensors(["Linear"])
        if scheme.weights is not None and scheme.weights.group_size:
            scheme = Scheme.create(kind, group_size=16).to_compressed_tensors(["Linear"])
        return not problem_of(model, names, scheme) or _with_other_format(model, names, scheme) is not None
    return False


def problem_of(model: nn.Module, names: Iterable[str], scheme: "QuantizationScheme") -> str:
    """What goes wrong when the quantized model is loaded; empty where nothing does or the model cannot be tried."""
    from compressed_tensors.offload import as_single_threaded
    from compressed_tensors.quantization import QuantizationStatus, initialize_module_for_quantization
    from transformers import PreTrainedModel
    from transformers.core_model_loading import revert_weight_conversion

    from hf_compress.quantization.serializer import packed_state, quantization_settings

    if not isinstance(model, PreTrainedModel):
        return ""
    twin = skeleton(model)
    if twin is None:
        return ""
    # compressed-tensors draws bars, and would share the work among the processes of a training.
    with quiet(), contextlib.redirect_stderr(io.StringIO()), as_single_threaded(), random_state_kept():
        try:
            for name in names:
                module = twin.get_submodule(name)
                initialize_module_for_quantization(module, copy.deepcopy(scheme), force_zero_point=False)
                module.quantization_status = QuantizationStatus.FROZEN  # type: ignore[assignment]
        except AttributeError:  # modules of the model that its config does not make
            return ""
        config: Any = copy.deepcopy(model.config)
        config.quantization_config = quantization_settings(twin)
        try:
            loaded_with_info: Any = type(model).from_pretrained(
                None,
                config=config,
                state_dict=dict(revert_weight_conversion(model, packed_state(twin))),
                device_map="meta",
                output_loading_info=True,
            )
            info: dict[str, Any] = loaded_with_info[1]
        except Exception as error:  # each architecture refuses in its own way
            return " ".join(str(error).split())[:120] or type(error).__name__
    for key, words in (("missing_keys", "would be random"), ("unexpected_keys", "would be dropped")):
        if info[key]:
            return f"{min(info[key])} {words}"
    return f"{min(info['mismatched_keys'])[0]} has another shape" if info["mismatched_keys"] else ""
