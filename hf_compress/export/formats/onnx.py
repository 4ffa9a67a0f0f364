"""ONNX, which ONNX Runtime and many other programs run."""

from dataclasses import dataclass
from typing import ClassVar

from hf_compress.checkpoints.weight_files import PROGRAM_FILES
from hf_compress.export.exported_format import ExportedFormat, needs


@dataclass(frozen=True, kw_only=True)
class OnnxFormat(ExportedFormat, name="onnx"):
    """A graph in `model.onnx` and its weights in `model.onnx.data`."""

    backend: ClassVar[str] = "onnx"
    files: ClassVar[tuple[str, ...]] = PROGRAM_FILES["onnx"]
    needs: ClassVar[str] = needs("onnx, onnxscript and onnxruntime")
