"""What a criterion that forgets its method says."""

import pytest
import torch

from hf_compress.pruning.criterion import Criterion


def test_a_criterion_without_score_names_itself():
    class Forgetful(Criterion):
        pass

    with pytest.raises(TypeError, match=r"Forgetful defines no score\(\)"):
        Forgetful().score(torch.zeros(1, 1), {})
