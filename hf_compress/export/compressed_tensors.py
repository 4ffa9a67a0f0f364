"""Checkpoints in the compressed-tensors format, which plain transformers and vLLM load."""

from pathlib import Path
from typing import Any

import torch.distributed as dist
from transformers import PreTrainedModel

from hf_compress._errors import CompressionError
from hf_compress._folders import written_beside


def save_compressed(model: PreTrainedModel, folder: str | Path, processor: Any = None) -> Path:
    """Pack the quantized modules and write the checkpoint to a new folder.

    The model is consumed: its weights are packed in place. Load the folder to go on working with it.

    Args:
        model: as `quantize()` or `CompressionTrainer.finalize()` left it.
        folder: must not exist; appears only when everything is written.
        processor: tokenizer or image processor to write beside it.

    Returns:
        The folder.

    Raises:
        CompressionError: nothing is quantized, the folder exists, or a process group is alive.
    """
    with written_beside(Path(folder)) as part:
        write_compressed(model, part, processor)
    return Path(folder)


def write_compressed(model: PreTrainedModel, folder: Path, processor: Any = None) -> None:
    """The same into a folder that exists, for callers that write more beside it before it counts."""
    from compressed_tensors.compressors import ModelCompressor

    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        raise CompressionError(
            "packing inside a process group splits modules over ranks; end the group first"
            " (torch.distributed.destroy_process_group()) and export from one process"
        )
    if not any(getattr(module, "quantization_scheme", None) is not None for module in model.modules()):
        raise CompressionError("no module is quantized; call quantize() or finalize() first, or write it with save_dense")
    compressor = ModelCompressor.from_pretrained_model(model)
    compressor.compress_model(model)
    model.save_pretrained(folder)
    compressor.update_config(str(folder))
    if processor is not None:
        processor.save_pretrained(folder)
