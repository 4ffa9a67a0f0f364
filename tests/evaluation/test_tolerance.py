"""Tolerances by hand."""

import pytest

from hf_compress.evaluation.tolerance import tolerances


def test_counts_are_exact_and_the_rest_moves_a_little():
    found = tolerances({"num_tokens": 1000, "perplexity": 5.0, "nll": -0.5, "accuracy": 0.9, "bleu": 30.0}, 50)
    assert found == pytest.approx({"num_tokens": 0, "perplexity": 0.01, "nll": 0.001, "accuracy": 0.04, "bleu": 0.15})
    assert tolerances({"accuracy": 0.9}, None) == pytest.approx({"accuracy": 0.0045})
