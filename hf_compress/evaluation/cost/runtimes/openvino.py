"""OpenVINO on the processor."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from hf_compress.evaluation.cost.exported_runtime import ExportedRuntime


@dataclass(frozen=True, kw_only=True)
class OpenVino(ExportedRuntime, name="openvino"):
    """The model as OpenVINO's graph, with as many threads as torch has.

    Attributes:
        compute: "f32", or "auto", which is OpenVINO's default: bfloat16 on processors that have instructions for it.
    """

    backend: ClassVar[str] = "openvino"

    compute: Literal["f32", "auto"] = "f32"

    @property
    def precision(self) -> str | None:
        """As it is asked for."""
        return None if self.compute == "auto" else self.compute
