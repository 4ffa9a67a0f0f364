"""What runtimes of exported graphs share: the model is exported first, which takes its own time."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from hf_compress.checkpoints.exported import export_model, missing_packages, runner_options, silent
from hf_compress.evaluation.cost.runtime import Prepared, Runtime


@dataclass(frozen=True, kw_only=True)
class ExportedRuntime(Runtime):
    """A runtime that takes what `transformers.exporters` makes of a model: one forward pass without a cache.

    Attributes:
        backend: of `transformers.exporters`.
    """

    backend: ClassVar[str]

    @property
    def precision(self) -> str | None:
        """See `load_exported`."""
        return "f32"

    def missing(self, device: torch.device) -> str:
        """Packages; and it is measured on processors alone."""
        if device.type != "cpu":
            return f"{self.name} is measured on the CPU alone; write device cpu"
        return missing_packages(self.backend)

    def prepare(self, model: Any, batch: Mapping[str, Tensor]) -> Prepared:
        """Export it, in memory."""
        exported = export_model(model, self.backend).exported
        with silent():
            exported.to("cpu", **runner_options(self.backend, self.precision))
        return Prepared(call=lambda inputs: exported(**inputs))
