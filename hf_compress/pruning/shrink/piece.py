"""One tensor of a shrunk model."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Piece:
    """A tensor of the model, and what of it stays.

    Attributes:
        source: its name.
        places: dimension and the places along it that stay, for each dimension that is cut.
    """

    source: str
    places: tuple[tuple[int, tuple[int, ...]], ...] = ()

    def of(self, tensor: Tensor) -> Tensor:
        """A copy of what stays; the shape alone where the tensor has no memory."""
        for dimension, places in self.places:
            tensor = tensor.index_select(dimension, torch.tensor(places, device=tensor.device))
        return tensor if self.places else tensor.clone()
