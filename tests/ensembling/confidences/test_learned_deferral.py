"""1 / (1 + exp(-(w f + b)))."""

import math

import pytest
import torch

from hf_compress import CompressionError
from hf_compress.ensembling.confidences.learned_deferral import LearnedDeferral, deferral_features


def reference(probabilities):
    """Unlearned."""
    return max(probabilities)


def test_it_is_the_logistic_function_of_its_features():
    row = torch.tensor([[0.2, 0.7, 0.1]], dtype=torch.float64).log()
    entropy = -sum(p * math.log(p) for p in (0.2, 0.7, 0.1)) / math.log(3)
    features = [math.log(0.7 / 0.3), 0.5, 1 - entropy, math.log(0.2), math.log(0.1), -20.0]  # there is no fourth class
    torch.testing.assert_close(deferral_features(row, 6), torch.tensor([features], dtype=torch.float64))
    weights = (0.5, -1.0, 2.0, 0.25, 0.125)
    odds = sum(w * f for w, f in zip(weights, features, strict=False)) - 0.75
    found = LearnedDeferral(weights=weights, bias=-0.75).score(row)
    torch.testing.assert_close(found, torch.tensor([1 / (1 + math.exp(-odds))], dtype=torch.float64))


def test_weights_that_are_no_numbers_are_refused():
    for wrong in ({"weights": ()}, {"weights": (math.inf,)}, {"bias": math.nan}):
        with pytest.raises(CompressionError, match="must be finite numbers, one weight or more"):
            LearnedDeferral(**wrong)
