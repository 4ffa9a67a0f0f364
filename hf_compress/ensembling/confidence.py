"""The contract of a confidence.

The files of confidences/ need torch and combiner.py alone: they go along as text with a published ensemble.
"""

from dataclasses import dataclass

from torch import Tensor

from hf_compress._registry import Strategy


@dataclass(frozen=True, kw_only=True)
class Confidence(Strategy, kind="confidence", package="hf_compress.ensembling.confidences"):
    """Says how sure a distribution is; where it is not, a cascade asks its next model."""

    def score(self, log_probabilities: Tensor) -> Tensor:
        """Score every row.

        Args:
            log_probabilities: (..., C); as probabilities they sum to 1.

        Returns:
            (...) in [0, 1], fp32 (fp64 where they are): 1 where one class has all of the probability, the smallest where
            all have the same. NaN where a log-probability is: ask `~(score >= threshold)`, so that such rows go on.
        """
        raise TypeError(f"{type(self).__name__} defines no score()")
