"""What formats for other runtimes share: one graph by `transformers.exporters`, loaded back by the runtime itself."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from torch import nn
from transformers import PreTrainedModel

from hf_compress.checkpoints.export_format import ExportFormat
from hf_compress.checkpoints.exported import (
    EXTRA,
    TOLERANCE,
    Program,
    backend_of,
    compare_exported,
    export_model,
    load_exported,
    missing_packages,
    refuse_unexportable,
)
from hf_compress.export.runtime_model import runtime_model
from hf_compress.export.saveable import check_saveable

if TYPE_CHECKING:
    from compressed_tensors.quantization import QuantizationScheme

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ExportedFormat(ExportFormat):
    """A dense or pruned model as a graph of its forward pass, without a cache.

    Attributes:
        backend: of `transformers.exporters`.
        files: patterns of the files that hold the weights.
    """

    backend: ClassVar[str]
    files: ClassVar[tuple[str, ...]]
    tolerance: ClassVar[float] = TOLERANCE
    dtype: ClassVar[str] = "float32"

    def mistake(self, quantized: bool) -> str:
        """It takes no quantized model, and needs packages."""
        if quantized:
            return f"exporters of transformers take no quantized model, so {self.name} holds none; write compressed-tensors"
        return missing_packages(self.backend)

    def holds(self, module: nn.Module, scheme: "QuantizationScheme") -> str:
        """No quantized weight."""
        return f"exporters of transformers take no quantized model, so {self.name} holds none"

    def write(
        self,
        model: PreTrainedModel,
        folder: Path,
        processor: Any = None,
        example: Mapping[str, Any] | None = None,
        place: Path | None = None,
    ) -> None:
        """The graph, its weights, config.json and export.json, which says how it was traced.

        It is loaded by its runtime and compared with the model on two batches made from the config, with what `example`
        has beside the main input.
        """
        self.write_program(model, folder, processor, example, place)

    def write_program(
        self,
        model: PreTrainedModel,
        folder: Path,
        processor: Any = None,
        example: Mapping[str, Any] | None = None,
        place: Path | None = None,
    ) -> Program:
        """What `write` does.

        Returns:
            What was written, with what it asks of a cascade's members.
        """
        refuse_unexportable(model, self.backend)
        check_saveable(model)
        program = export_model(model, self.backend, example)
        program.exported.save_pretrained(folder)
        if processor is not None:
            processor.save_pretrained(folder)
        logger.info(compare_exported(model, load_exported(folder), place or folder, example))
        return program

    def load(self, cls: Any, folder: Path) -> Any:
        """In its runtime, in fp32, as something that is called like the model."""
        assert backend_of(folder) == self.backend, folder
        return runtime_model(load_exported(folder), cls)

    def weight_files(self, folder: Path) -> list[Path]:
        """The graph, and what it keeps beside it."""
        return sorted(file for pattern in self.files for file in folder.glob(pattern))

    def usage(self, model: str, processor: str | None) -> str:
        """By transformers, which hands the graph to its runtime."""
        lines = [f"# {model} as one forward pass; its files also run without Python."]
        if processor is not None:
            lines.append(f"from transformers import {processor}")
        lines += ["from transformers.exporters import ExportedModel", ""]
        lines.append('model = ExportedModel.from_pretrained("<this repository or folder>")')
        if processor is not None:
            lines.append(f'processor = {processor}.from_pretrained("<this repository or folder>")')
        return "\n".join(lines)


def needs(runtime: str) -> str:
    """What loading asks for."""
    return f"Needs transformers and {runtime} ({EXTRA}); hf_compress itself is not needed."
