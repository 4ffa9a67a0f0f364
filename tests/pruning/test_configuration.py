"""The pruning job as a value."""

import pytest

from hf_compress._errors import CompressionError
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.criteria.magnitude import Magnitude
from hf_compress.pruning.patterns.n_m import NM
from hf_compress.pruning.patterns.unstructured import Unstructured
from hf_compress.pruning.schedules.cubic import Cubic


def test_the_default_is_gradual_magnitude_pruning_of_linears():
    pruning = Pruning()
    assert (pruning.criterion, pruning.pattern, pruning.schedule) == (Magnitude(), Unstructured(), Cubic())
    assert pruning.targets == ("Linear",)


def test_lists_of_targets_become_tuples_so_that_equal_jobs_are_equal():
    assert Pruning(targets=["Linear"], ignore=["a"]) == Pruning(targets=("Linear",), ignore=("a",))
    assert hash(Pruning(targets=["Linear"])) == hash(Pruning())


def test_no_targets_are_refused():
    with pytest.raises(CompressionError, match=r"pruning\.targets is empty; name what to prune"):
        Pruning(targets=[])


def test_a_schedule_that_does_not_end_at_the_patterns_sparsity_is_refused():
    with pytest.raises(CompressionError, match=r"2:4 pattern has sparsity 0\.5, but the schedule ends at 0\.9"):
        Pruning(pattern=NM(n=2, m=4), schedule=Cubic(final=0.9))
