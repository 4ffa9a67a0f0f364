"""The pruning job as a value."""

import pytest

from hf_compress._errors import CompressionError
from hf_compress.pruning.allocations.owl import OWL
from hf_compress.pruning.allocations.per_layer import PerLayer
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.criteria.fisher import FisherSaliency
from hf_compress.pruning.criteria.magnitude import Magnitude
from hf_compress.pruning.criteria.threshold import Threshold
from hf_compress.pruning.criteria.wanda import Wanda
from hf_compress.pruning.patterns.n_m import NM
from hf_compress.pruning.patterns.unstructured import Unstructured
from hf_compress.pruning.schedules.cubic import Cubic
from hf_compress.pruning.schedules.linear import LinearRamp


def test_the_default_is_gradual_magnitude_pruning_of_linears():
    pruning = Pruning()
    assert (pruning.criterion, pruning.pattern, pruning.schedule) == (Magnitude(), Unstructured(), Cubic())
    assert pruning.targets == ("Linear",)


def test_lists_of_targets_become_tuples_so_that_equal_jobs_are_equal():
    assert Pruning(targets=["Linear"], ignore=["a"]) == Pruning(targets=("Linear",), ignore=("a",))
    assert hash(Pruning(targets=["Linear"])) == hash(Pruning())


def test_every_job_can_be_hashed_and_is_not_changed_by_what_it_was_made_of():
    written = {"0": 0.5}
    job = Pruning(allocation=PerLayer(sparsities=written))
    written["1"] = 0.1
    assert job == Pruning(allocation=PerLayer(sparsities={"0": 0.5})) and hash(job) == hash(Pruning(allocation=PerLayer()))


def test_it_needs_what_criterion_and_allocation_need_once():
    assert Pruning().needs == () and Pruning(criterion=Wanda(), allocation=OWL()).needs == ("input_norm",)
    assert Pruning(criterion=FisherSaliency(), allocation=OWL()).needs == ("fisher", "input_norm")


def test_the_amount_is_the_schedules_sparsity_or_the_share_of_a_cut():
    ramp = {"schedule": LinearRamp(begin=2, end=6, every=1)}
    assert [Pruning(**ramp).amount(step, 9) for step in (0, 2, 4, 6)] == [0.0, 0.0, 0.25, 0.5]
    cut = Pruning(criterion=Threshold(), **ramp)
    assert [cut.amount(step, 9) for step in (0, 2, 4, 6)] == [0.0, 0.0, 0.5, 1.0]
    assert (Pruning(**ramp).final, Pruning(**ramp).target, cut.final, cut.target) == (0.5, 0.5, 1.0, None)


def test_no_targets_are_refused():
    with pytest.raises(CompressionError, match=r"pruning\.targets is empty; name what to prune"):
        Pruning(targets=[])


def test_a_schedule_that_does_not_end_at_the_patterns_sparsity_is_refused():
    with pytest.raises(CompressionError, match=r"2:4 pattern has sparsity 0\.5, but the schedule ends at 0\.9"):
        Pruning(pattern=NM(n=2, m=4), schedule=Cubic(final=0.9))
