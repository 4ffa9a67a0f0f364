"""ONNX Runtime on the processor."""

from dataclasses import dataclass
from typing import ClassVar

from hf_compress.evaluation.cost.exported_runtime import ExportedRuntime


@dataclass(frozen=True, kw_only=True)
class OnnxRuntime(ExportedRuntime, name="onnxruntime"):
    """The model as an ONNX graph, in fp32, with as many threads as torch has."""

    backend: ClassVar[str] = "onnx"
