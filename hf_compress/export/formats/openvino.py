"""OpenVINO's intermediate representation, for processors and GPUs of Intel."""

from dataclasses import dataclass
from typing import ClassVar

from hf_compress.checkpoints.weight_files import PROGRAM_FILES
from hf_compress.export.exported_format import ExportedFormat, needs


@dataclass(frozen=True, kw_only=True)
class OpenVinoFormat(ExportedFormat, name="openvino"):
    """A graph in `openvino_model.xml` and its weights in `openvino_model.bin`."""

    backend: ClassVar[str] = "openvino"
    files: ClassVar[tuple[str, ...]] = PROGRAM_FILES["openvino"]
    needs: ClassVar[str] = needs("openvino")
