"""What a criterion that forgets its method says."""

import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.pruning.criterion import Criterion


def test_a_criterion_without_score_names_itself():
    class Forgetful(Criterion):
        pass

    with pytest.raises(TypeError, match=r"Forgetful defines no score\(\)"):
        Forgetful().score(torch.zeros(1, 1), {})


def test_a_criterion_that_needs_what_nobody_measures_is_refused_when_it_is_made():
    class Misspelt(Criterion):
        needs = ("input_nrom",)

    with pytest.raises(
        CompressionError, match="'Misspelt' needs an unknown statistic 'input_nrom'; did you mean 'input_norm'"
    ):
        Misspelt()
