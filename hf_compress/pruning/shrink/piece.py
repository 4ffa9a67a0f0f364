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
        of_each: dimension and the places along it that stay, of each item of the first dimension that stays; None where
            they are cut alike.
    """

    source: str
    places: tuple[tuple[int, tuple[int, ...]], ...] = ()
    of_each: tuple[int, tuple[tuple[int, ...], ...]] | None = None

    def of(self, tensor: Tensor) -> Tensor:
        """A copy of what stays; the shape alone where the tensor has no memory."""
        for dimension, places in self.places:
            tensor = tensor.index_select(dimension, torch.tensor(places, device=tensor.device))
        if self.of_each is not None:
            dimension, each = self.of_each
            items = zip(tensor, each, strict=True)
            return torch.stack([one.index_select(dimension - 1, torch.tensor(at, device=one.device)) for one, at in items])
        return tensor if self.places else tensor.clone()
