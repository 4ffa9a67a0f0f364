"""Post-training quantization."""

from torch import nn

from hf_compress._kinds import require
from hf_compress._modules.ignored import say_unmatched
from hf_compress._modules.plain_model import require_plain
from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.qat import convert, prepare
from hf_compress.quantization.reach import announce


def quantize(model: nn.Module, quantization: Quantization) -> list[str]:
    """Quantize in place by rounding to nearest (RTN), without data.

    Args:
        model: changed in place; ready for `export.save_compressed`.
        quantization: which modules, which scheme; `begin` does not matter here.

    Returns:
        The names of the quantized modules.

    Raises:
        CompressionError: nothing matches, a module cannot be quantized, or the model is quantized or carries adapters.
    """
    require(quantization, Quantization, 'quantize(model, Quantization(scheme="W8A8"))')
    require_plain(model, "quantization")
    prepare(model, quantization)
    say_unmatched(model, quantization.ignore, "quantization")
    announce(model)
    return convert(model)
