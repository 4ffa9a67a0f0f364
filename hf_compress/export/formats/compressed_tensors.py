"""Checkpoints in the compressed-tensors format, which plain transformers and vLLM load."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch.distributed as dist
from torch import nn
from transformers import PreTrainedModel

from hf_compress._errors import CompressionError
from hf_compress._problems import and_more
from hf_compress.checkpoints.export_format import ExportFormat
from hf_compress.checkpoints.load_back import load_back
from hf_compress.export.saveable import check_saveable
from hf_compress.quantization.serializer import attach_serializer, is_converted, is_packable, without_rounding

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationScheme


@dataclass(frozen=True, kw_only=True)
class CompressedTensorsFormat(ExportFormat, name="compressed-tensors"):
    """Packed integers and float8 with their scales, and `quantization_config` in config.json."""

    packs: ClassVar[bool] = True
    served_by_vllm: ClassVar[bool] = True

    def mistake(self, quantized: bool) -> str:
        """It stores quantized weights."""
        mistake = "compressed-tensors stores quantized weights, and there is no `quantization`; write dense"
        return "" if quantized else mistake

    def holds(self, module: nn.Module, scheme: "QuantizationScheme") -> str:
        """What compressed-tensors itself says it packs."""
        return "" if is_packable(type(module), scheme) else "compressed-tensors packs the weights of Linear modules"

    def write(
        self,
        model: PreTrainedModel,
        folder: Path,
        processor: Any = None,
        example: Mapping[str, Any] | None = None,
        place: Path | None = None,
    ) -> None:
        """A copy is packed, module by module; see `save_compressed`."""
        if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
            raise CompressionError(
                "loading a packed checkpoint inside a process group splits modules over ranks; end the group first"
                " (torch.distributed.destroy_process_group()) and export from one process"
            )
        if not is_converted(model):
            raise CompressionError(
                "no module is quantized; call quantize() or finalize() first, or write it with save_dense"
            )
        _refuse_pickled(model)
        check_saveable(model)
        if not getattr(getattr(model, "hf_quantizer", None), "is_ours", False):
            # Loaded quantized: transformers unpacks it in the first forward and would write it dense.
            attach_serializer(model)
        model.save_pretrained(folder)
        if processor is not None:
            processor.save_pretrained(folder)
        load_back(model, folder, example, place)


def _refuse_pickled(model: nn.Module) -> None:
    names = without_rounding(model)
    if names:
        raise CompressionError(
            f"{type(model).__name__} was pickled (torch.save and torch.load, or sent to another process), which drops the"
            f" rounding forward of its quantized modules ({and_more(names)}), so it computes as if it were dense; its"
            " weights and scales are whole: write it with its own save_pretrained, and load that"
        )


def save_compressed(
    model: PreTrainedModel, folder: str | Path, processor: Any = None, example: Mapping[str, Any] | None = None
) -> Path:
    """Pack the quantized modules, write the checkpoint to a new folder and see that it loads as what the model is.

    A copy is packed, module by module: the model stays as it is, and can be saved again (the same bytes), also after a
    failure. What the check asks and costs: see `load_back`.

    Args:
        model: as `quantize()` or `CompressionTrainer.finalize()` left it.
        folder: must not exist; appears only when everything is written and loaded back.
        processor: tokenizer or image processor to write beside it.
        example: a batch for `model(**example)` whose logits are compared; by default one made from the config.

    Returns:
        The folder.

    Raises:
        CompressionError: nothing is quantized, a weight is NaN, the folder exists, a process group is alive, or the
            checkpoint is not what the model is; nothing is left then, and the model is unchanged.
    """
    return CompressedTensorsFormat().save(model, folder, processor, example)
