"""PyTorch, operation by operation, as `from_pretrained` gives the model."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from hf_compress.evaluation.cost.runtime import Prepared, Runtime


@dataclass(frozen=True, kw_only=True)
class Eager(Runtime, name="eager"):
    """The model as it is."""

    takes_packed: ClassVar[bool] = True

    def prepare(self, model: Any, batch: Mapping[str, Tensor]) -> Prepared:
        """Nothing is to be done."""
        return Prepared(call=lambda inputs: _run(model, inputs), model=model)


@torch.no_grad()
def _run(model: Any, batch: Mapping[str, Tensor]) -> Any:
    return model(**batch)
