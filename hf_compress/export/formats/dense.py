"""Dense checkpoints: pruned weights as zeros in ordinary safetensors."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn
from transformers import PreTrainedModel

from hf_compress._errors import CompressionError
from hf_compress._folders import written_beside
from hf_compress._modules.kept_weights import weights_kept
from hf_compress._modules.types import cast_weights
from hf_compress.checkpoints.export_format import ExportFormat
from hf_compress.checkpoints.load_back import load_back
from hf_compress.export.saveable import check_saveable

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationScheme


@dataclass(frozen=True, kw_only=True)
class DenseFormat(ExportFormat, name="dense"):
    """Every weight as it is, in ordinary safetensors."""

    served_by_vllm: ClassVar[bool] = True

    def mistake(self, quantized: bool) -> str:
        """It would lose a quantization."""
        return "a dense checkpoint would lose the quantization; write compressed-tensors or auto" if quantized else ""

    def holds(self, module: nn.Module, scheme: "QuantizationScheme") -> str:
        """No quantized weight."""
        return "a dense checkpoint would lose the quantization"

    def write(
        self,
        model: PreTrainedModel,
        folder: Path,
        processor: Any = None,
        example: Mapping[str, Any] | None = None,
        place: Path | None = None,
    ) -> None:
        """As it is."""
        write_dense(model, folder, processor, example=example, place=place)


def save_dense(
    model: PreTrainedModel,
    folder: str | Path,
    processor: Any = None,
    dtype: str = "auto",
    example: Mapping[str, Any] | None = None,
) -> Path:
    """Write an ordinary checkpoint that any library loads, and see that it loads as what the model is.

    Args:
        model: a transformers model without quantization; stays as it is.
        folder: must not exist; appears only when everything is written and loaded back.
        processor: tokenizer or image processor to write beside it.
        dtype: "auto" (as the model is) or a torch type's name.
        example: a batch for `model(**example)` whose outputs are compared; by default one made from the config.

    Returns:
        The folder.

    Raises:
        CompressionError: the folder exists, the model carries quantized modules, a weight is NaN, or the checkpoint is not
            what the model is; nothing is left then.
    """
    with written_beside(Path(folder)) as part:
        write_dense(model, part, processor, dtype, example, place=Path(folder))
    return Path(folder)


def write_dense(
    model: PreTrainedModel,
    folder: Path,
    processor: Any = None,
    dtype: str = "auto",
    example: Mapping[str, Any] | None = None,
    place: Path | None = None,
) -> None:
    """The same into a folder that exists, for callers that write more beside it before it counts.

    Args:
        model: as in `save_dense`.
        folder: where to write.
        processor: as there.
        dtype: as there.
        example: as there.
        place: how refusals call the folder.
    """
    _refuse_quantized(model)
    check_saveable(model, dtype)
    with weights_kept(model):
        cast_weights(model, dtype)
        model.save_pretrained(folder)
        if processor is not None:
            processor.save_pretrained(folder)
        load_back(model, folder, example, place)


def _refuse_quantized(model: nn.Module) -> None:
    for name, module in model.named_modules():
        if getattr(module, "quantization_scheme", None) is not None or getattr(module, "qat_scheme", None) is not None:
            raise CompressionError(
                f"{name} is quantized, and a dense checkpoint would lose that; write it with save_compressed"
            )
