"""What a criterion adds up at every optimizer step, in memory and in checkpoints."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from hf_compress._errors import CompressionError, reason_of
from hf_compress._modules.matrix import as_matrix, matrix_shape, own_matrix
from hf_compress.pruning.criterion import ACCUMULATED, Criterion
from hf_compress.pruning.statistics import Stats

FILE = "pruning.safetensors"


class Accumulated:
    """The running totals of one training, fp32 (O, I) by layer name; nothing for a criterion that accumulates nothing.

    Processes of DDP see the same gradients and have the same totals. Sharded runs are refused (`compatibility.py`).
    """

    def __init__(self, criterion: Criterion) -> None:
        self.criterion = criterion
        self.totals: dict[str, Tensor] = {}

    @torch.no_grad()
    def add(self, modules: Mapping[str, nn.Module]) -> None:
        """One optimizer step, about to be made; a layer that had no gradient in it stays as it is."""
        if not self.criterion.accumulates:
            return
        for name, module in modules.items():
            gradient: Tensor | None = module.weight.grad  # type: ignore[union-attr, assignment]
            if gradient is not None:
                weight, total = own_matrix(module), self.totals.get(name)
                total = None if total is None else total.to(weight.device)
                self.totals[name] = self.criterion.accumulate(weight, as_matrix(module, gradient), total)

    def beside(self, stats: Stats, modules: Mapping[str, nn.Module]) -> Stats:
        """Statistics, with the totals among them."""
        if not self.criterion.accumulates:
            return stats
        return {name: {**stats.get(name, {}), ACCUMULATED: self._total(name, module)} for name, module in modules.items()}

    def _total(self, name: str, module: nn.Module) -> Tensor:
        matrix = own_matrix(module).detach()
        found = self.totals.get(name)
        return torch.zeros(matrix.shape, device=matrix.device) if found is None else found.to(matrix.device)

    def check(self, modules: Mapping[str, nn.Module]) -> None:
        """Refuse layers that will never have a total, and totals that are not of these layers.

        Raises:
            CompressionError: a layer is frozen, or a checkpoint's total has another shape.
        """
        for name, module in modules.items() if self.criterion.accumulates else ():
            if not module.weight.requires_grad:  # type: ignore[union-attr]
                raise CompressionError(
                    f"pruning.criterion: criterion {self.criterion.name!r} adds up gradients, and {name} is frozen and has"
                    f" none; add '{name}' to pruning.ignore, or let it train"
                )
            if name in self.totals and self.totals[name].shape != matrix_shape(module):
                raise CompressionError(
                    f"{FILE} of the checkpoint has {tuple(self.totals[name].shape)} numbers for {name}, which has"
                    f" {matrix_shape(module)} weights; is it another model?"
                )

    def save(self, folder: Path) -> None:
        """Write the totals beside a checkpoint's weights, bit for bit."""
        if self.criterion.accumulates:
            save_file({name: total.contiguous().cpu() for name, total in self.totals.items()}, folder / FILE)

    def load(self, folder: Path) -> None:
        """Take them up again.

        Raises:
            CompressionError: the checkpoint has none, or they cannot be read.
        """
        if not self.criterion.accumulates:
            return
        if not (folder / FILE).is_file():
            raise CompressionError(
                f"{folder} has no {FILE} with what criterion {self.criterion.name!r} has added up, and a run cannot go on"
                " without; name a checkpoint of this training, or begin a new run from its weights"
            )
        try:
            self.totals = load_file(folder / FILE)
        except (OSError, SafetensorError) as error:
            raise CompressionError(
                f"{folder / FILE} cannot be read: {reason_of(error)}; take an earlier checkpoint"
            ) from error
