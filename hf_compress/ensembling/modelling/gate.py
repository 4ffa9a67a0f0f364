"""The network of a gate."""

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError
from hf_compress.ensembling.modelling.features import member_entropies, member_features


class Gate(nn.Module):
    """Weights of the members for each row, softmax(A x + a), or softmax(A relu(B x + b) + a) with a hidden layer.

    x are the members' log-probabilities and entropies, less their mean over the rows of training and divided by their
    standard deviation (both are buffers). A new gate gives equal weights.

    Args:
        num_members: M.
        num_classes: C.
        hidden: width of the hidden layer; None = none.
        generator: draws B.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self, num_members: int, num_classes: int, hidden: int | None = None, generator: torch.Generator | None = None
    ) -> None:
        super().__init__()
        if hidden is not None and hidden < 1:
            raise CompressionError(f"hidden={hidden} must be 1 or more, or None for no hidden layer")
        width = num_members * (num_classes + 1)
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("deviation", torch.ones(width))
        # Drawn below from the generator, so that making one moves no global random state.
        self.inner = None if hidden is None else torch.nn.utils.skip_init(nn.Linear, width, hidden)
        self.outer = torch.nn.utils.skip_init(nn.Linear, hidden or width, num_members)
        nn.init.zeros_(self.outer.weight)
        nn.init.zeros_(self.outer.bias)
        if self.inner is not None:
            nn.init.kaiming_uniform_(self.inner.weight, nonlinearity="relu", generator=generator)
            nn.init.zeros_(self.inner.bias)

    def features(self, logits: Tensor) -> Tensor:
        """(M, ..., C) -> (..., M * (C + 1)), as the rows have them."""
        return torch.cat((member_features(logits), member_entropies(logits)), -1)

    def forward(self, logits: Tensor) -> Tensor:
        """(M, ..., C) -> (M, ...) weights that sum to 1 over the members, as `Combiner.combine` takes them."""
        x = ((self.features(logits) - self.mean) / self.deviation).to(self.outer.weight.dtype)
        if self.inner is not None:
            x = torch.relu(self.inner(x))
        return self.outer(x).softmax(-1).movedim(-1, 0)
