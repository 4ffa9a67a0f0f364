"""Statistics of the inputs of layers, observed while a model runs."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress._modules.hooks import removed_afterwards
from hf_compress.calibration.input_rows import check_rows, masks_of, rows_of
from hf_compress.calibration.statistic import InputStatistic
from hf_compress.calibration.totals import Totals


class ObservedInputs:
    """The inputs of some layers, seen by several statistics at once.

    Knows layers and batches and not the whole model's pass, so that it serves one block of a model as well.

    Args:
        modules: the layers by name.
        statistics: each sees every row.

    Raises:
        CompressionError: see `check_rows`.
    """

    def __init__(self, modules: Mapping[str, nn.Module], statistics: Sequence[InputStatistic]) -> None:
        if statistics:
            check_rows(modules)
        self.modules = dict(modules) if statistics else {}
        self.totals = [Totals(statistic=statistic) for statistic in statistics]

    @contextlib.contextmanager
    def watching(self, model: nn.Module, batch: Mapping[str, Any]) -> Iterator[None]:
        """In the block, whatever reaches the layers counts.

        Args:
            model: whose batch it is; its config says whether it has an encoder and a decoder.
            batch: its masks leave padding out.
        """
        masks = masks_of(model, batch)

        def hook_of(name: str) -> Any:
            def observe(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
                self._observe(name, module, _first_tensor(args, kwargs), masks)

            return observe

        hooks = [module.register_forward_pre_hook(hook_of(name), with_kwargs=True) for name, module in self.modules.items()]
        with removed_afterwards(hooks), torch.no_grad():
            yield

    def _observe(self, name: str, module: nn.Module, inputs: Tensor, masks: Sequence[Tensor]) -> None:
        rows = rows_of(name, module, inputs.detach(), masks)
        if not len(rows):
            return
        for each in self.totals:
            each.sums[name] = each.statistic.observe(rows, each.sums.get(name))
            each.counts[name] = each.counts.get(name, 0) + len(rows)


def _first_tensor(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """A layer's input, however it was passed."""
    return next(value for value in (*args, *kwargs.values()) if isinstance(value, Tensor))
