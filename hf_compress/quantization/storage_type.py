"""Whether a quantized model runs in the type that everything else of it is stored in, known before it is trained."""

import contextlib
import io

import torch
from torch import nn

from hf_compress._errors import CompressionError
from hf_compress._forward.dry_run import failure, random_state_kept
from hf_compress._forward.small_twin import small_twin
from hf_compress._modules.names import model_name
from hf_compress._modules.types import cast_as_loaded, check_dtype
from hf_compress._quiet import quiet
from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.fitting import fit


def check_storage_type(model: nn.Module, quantization: Quantization | None, dtype: str) -> torch.dtype | None:
    """The torch type of a name, in which the architecture computes, also as transformers loads it packed; None for "auto".

    Args:
        model: dense, prepared or without memory; only read.
        quantization: the job; None for a model that stays dense.
        dtype: the name of the type.

    Raises:
        CompressionError: see `check_dtype`, or the packed model mixes types.
    """
    target = check_dtype(model, dtype)
    if quantization is None or target is None or target.itemsize >= 4:
        return target
    with random_state_kept():
        reason = _packed_refusal(model, target)
    if reason and not fit(model, quantization)[1].dense_on_load:
        raise CompressionError(
            f"{model_name(model)} does not run quantized with weights stored in {dtype} ({reason}); store them in float32"
        )
    return target


def _packed_refusal(model: nn.Module, target: torch.dtype) -> str:
    """Why the architecture does not run where compressed-tensors holds its tensors; empty where it does or none can tell.

    After unpacking it keeps every tensor in the type in which it was loaded, so a forward that assigns one of its buffers
    in another type (CTRL's positions) reads it back in the old one.
    """
    from compressed_tensors.offload import as_single_threaded
    from compressed_tensors.offload.convert import from_accelerate

    twin, _ = small_twin(model, target)
    if twin is None:
        return ""
    twin = cast_as_loaded(twin, target)
    with quiet(), contextlib.redirect_stderr(io.StringIO()), as_single_threaded():
        from_accelerate(twin)
        reason = failure(twin)
    if not reason:
        return ""
    plain = cast_as_loaded(small_twin(model, target)[0], target)
    return reason if failure(plain) == "" else ""
