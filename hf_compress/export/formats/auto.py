"""The format that fits what was done to the model."""

from dataclasses import dataclass

from hf_compress.checkpoints.export_format import ExportFormat


@dataclass(frozen=True, kw_only=True)
class AutoFormat(ExportFormat, name="auto"):
    """compressed-tensors where something is quantized, else dense safetensors."""

    def chosen(self, quantized: bool) -> ExportFormat:
        """One of the two."""
        return ExportFormat.create("compressed-tensors" if quantized else "dense")
