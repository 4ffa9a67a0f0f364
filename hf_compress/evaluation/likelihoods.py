"""The mean loss of rows and its perplexity, as functions of sums."""

from collections.abc import Sequence

import numpy
from numpy import ndarray

from hf_compress.evaluation.bootstrap import Summed
from hf_compress.tasks.metrics.sums import share

PERPLEXITY = "perplexity"


def likelihoods(losses: ndarray, items: ndarray, keys: Sequence[str], loss: str = "nll") -> Summed:
    """The sum of the losses / the number of items, and exp of that, at most e^700.

    Args:
        losses: (N,), summed over the items of each row, in nats.
        items: (N,), how many items a row has.
        keys: which of the two are wanted.
        loss: the name of the first.
    """

    def of_sums(sums: ndarray) -> dict[str, ndarray]:
        mean = share(sums[:, 0], sums[:, 1])
        known = {loss: mean, PERPLEXITY: numpy.exp(numpy.minimum(mean, 700.0))}
        return {key: known[key] for key in keys}

    return Summed(numpy.stack([losses, items], axis=1), of_sums)
