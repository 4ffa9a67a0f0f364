"""How results are written, and where they are published."""

from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from hf_compress._hub.publication import Publication
from hf_compress._problems import Problem
from hf_compress.checkpoints.export_format import ExportFormat
from hf_compress.export.formats.auto import AutoFormat


@dataclass(frozen=True, kw_only=True)
class GraphExport(Publication):
    """Where a result of several models is published, and what is written beside them; see `Publication` for the first.

    Attributes:
        format: one graph of all of them, in a folder of its own; None = none.
    """

    format: Literal["onnx", "openvino"] | None = None


@dataclass(frozen=True, kw_only=True)
class Export(Publication):
    """How the result is written, and where it is published; see `Publication` for that.

    Attributes:
        format: an `ExportFormat`, or the name of one; auto = compressed-tensors where something is quantized, else dense
            safetensors.
        dtype: the type of everything that is not quantized.
    """

    _takes: ClassVar[dict[str, Any]] = {"format": ExportFormat | str}

    format: ExportFormat = field(default_factory=AutoFormat)
    dtype: Literal["bfloat16", "float16", "float32"] = "bfloat16"

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.format, str):
            object.__setattr__(self, "format", ExportFormat.create(self.format))

    def problems(self, quantized: bool) -> list[Problem]:
        """A format or a type that does not go with what is written.

        Args:
            quantized: something is.
        """
        message = self.format.mistake(quantized=quantized)
        found = [Problem(path="export.format", message=message)] if message else []
        only = self.format.dtype
        if only and self.dtype != only:
            message = f"{self.format.name} stores {only} alone; write dtype: {only}"
            found.append(Problem(path="export.dtype", message=message))
        return found


def without_publication(recipe: dict[str, Any]) -> dict[str, Any]:
    """A recipe as plain data without where its result is published, which says nothing about what it is."""
    export = recipe.get("export")
    if not isinstance(export, dict):
        return recipe
    kept = {key: value for key, value in export.items() if key not in Publication.field_names()}
    return {key: kept if key == "export" else value for key, value in recipe.items() if key != "export" or kept}
