"""ExecuTorch, for phones and other small machines."""

from dataclasses import dataclass
from typing import ClassVar

from hf_compress.checkpoints.weight_files import PROGRAM_FILES
from hf_compress.export.exported_format import ExportedFormat, needs


@dataclass(frozen=True, kw_only=True)
class ExecuTorchFormat(ExportedFormat, name="executorch"):
    """A program in `model.pte` for processors (XNNPACK), its weights in it."""

    backend: ClassVar[str] = "executorch"
    files: ClassVar[tuple[str, ...]] = PROGRAM_FILES["executorch"]
    needs: ClassVar[str] = needs("executorch")
