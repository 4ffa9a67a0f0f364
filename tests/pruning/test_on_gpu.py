"""What a GPU prunes is what the CPU prunes. Skipped where there is none, and where it is hidden: CUDA_VISIBLE_DEVICES=0."""

import copy

import pytest
import torch
from transformers import TrainerCallback

from hf_compress import (
    ERK,
    NM,
    OWL,
    RIA,
    Blocks,
    Constant,
    FisherSaliency,
    Global,
    Magnitude,
    Pruning,
    Random,
    Reconstruction,
    ShrinkPlan,
    SparseGPT,
    Taylor,
    Threshold,
    Unstructured,
    Wanda,
    WholeColumns,
    WholeRows,
    choose_parts,
    prune,
    shrink,
)
from hf_compress._selection import largest
from tests.tiny import tiny_llama
from tests.training.runs import assert_equal_bits, llama_trainer, weights

DEVICE = "cuda"
pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
PATTERNS = [Unstructured(), NM(n=2, m=4), Blocks(rows=4, columns=4), WholeRows(), WholeColumns()]


def batches():
    generator = torch.Generator().manual_seed(0)
    found = []
    for _ in range(4):
        ids = torch.randint(3, 60, (4, 24), generator=generator)
        found.append({"input_ids": ids, "labels": ids})
    return found


def agreement(first, second):
    """Share of equal bits of two models' masks."""
    equal = sum(int((first[name] == second[name].cpu()).sum()) for name in first)
    return equal / sum(mask.numel() for mask in first.values())


def both(pruning, **how):
    """The masks of the same model on the CPU and on the GPU, and the models."""
    on_cpu, on_gpu = tiny_llama(), tiny_llama().to(DEVICE)
    masks = prune(on_cpu, pruning, batches(), **how)
    return masks, prune(on_gpu, pruning, batches(), **how), on_cpu, on_gpu


@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda one: one.name)
@pytest.mark.parametrize("criterion", [Magnitude(), Random(seed=1)], ids=lambda one: one.name)
def test_masks_of_weights_alone_are_the_same(criterion, pattern):
    here, there, _, _ = both(Pruning(criterion=criterion, pattern=pattern, schedule=Constant(final=0.5)))
    assert agreement(here, there) == 1


@pytest.mark.parametrize("allocation", [Global(), ERK()], ids=lambda one: one.name)
def test_allocations_of_weights_alone_are_the_same(allocation):
    here, there, _, _ = both(Pruning(allocation=allocation, schedule=Constant(final=0.5)))
    assert agreement(here, there) == 1


def test_a_threshold_is_the_same():
    here, there, _, _ = both(Pruning(criterion=Threshold(value=0.01), schedule=Constant(final=0.5)))
    assert agreement(here, there) == 1


@pytest.mark.parametrize("pattern", PATTERNS[:2], ids=lambda one: one.name)
@pytest.mark.parametrize("criterion", [Wanda(), RIA(), Taylor(), FisherSaliency()], ids=lambda one: one.name)
def test_measured_masks_are_the_same_but_for_rounding(criterion, pattern):
    here, there, _, _ = both(Pruning(criterion=criterion, pattern=pattern, schedule=Constant(final=0.5)))
    assert agreement(here, there) > 0.998


def test_owl_is_the_same_but_for_rounding():
    given = Pruning(criterion=Wanda(), allocation=OWL(), schedule=Constant(final=0.5))
    here, there, _, _ = both(given)
    assert agreement(here, there) > 0.995


@pytest.mark.parametrize("pattern", PATTERNS[:2], ids=lambda one: one.name)
def test_sparsegpt_is_the_same_but_for_rounding(pattern):
    given = Pruning(pattern=pattern, schedule=Constant(final=0.5))
    here, there, on_cpu, on_gpu = both(given, solver=SparseGPT())
    assert agreement(here, there) > 0.98
    ids = batches()[0]["input_ids"]
    with torch.no_grad():
        expected, found = on_cpu(input_ids=ids).logits, on_gpu(input_ids=ids.to(DEVICE)).logits.cpu()
    assert (expected - found).norm() < 0.05 * expected.norm()


def test_reconstruction_gets_as_close_as_on_the_cpu():
    dense = tiny_llama()
    given = Pruning(schedule=Constant(final=0.5))
    _, masks, on_cpu, on_gpu = both(given, reconstruct=Reconstruction(steps=30))
    pruned = copy.deepcopy(dense)
    prune(pruned, given)
    ids = batches()[0]["input_ids"]
    with torch.no_grad():
        wanted = dense(input_ids=ids).logits
        missed = [
            float((model(input_ids=ids.to(model.device)).logits.cpu() - wanted).norm())
            for model in (pruned, on_cpu, on_gpu)
        ]
    assert missed[1] < 0.9 * missed[0]
    assert missed[2] == pytest.approx(missed[1], rel=0.05)
    assert all(bool((on_gpu.get_submodule(name).weight[~mask] == 0).all()) for name, mask in masks.items())


@pytest.mark.parametrize("importance", ["weights", "activations", "taylor"])
def test_the_same_parts_go(importance):
    plan = ShrinkPlan(feed_forward=0.5, heads=0.5, layers=1, importance=importance)
    small = []
    for device in ("cpu", DEVICE):
        model = tiny_llama().to(device)
        small.append(shrink(model, choose_parts(model, plan, batches())))
    assert small[1].device.type == DEVICE
    assert_equal_bits(weights(small[0]), weights(small[1].cpu()))


def test_one_threshold_over_many_numbers_is_that_of_a_sort():
    numbers = torch.randn(3_000_001, generator=torch.Generator().manual_seed(0)).mul(300).round().div(300)
    for k in (1, 1_234_567, 3_000_000):
        there = numbers.to(DEVICE)
        cut = largest(lambda there=there: there.split(2**20), k, numbers.numel())
        order = numbers.argsort(descending=True, stable=True)
        keep = torch.zeros(numbers.numel(), dtype=torch.bool)
        keep[order[:k]] = True
        assert torch.equal(cut.mask(there).cpu(), keep)


class StopAt(TrainerCallback):
    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == 6:
            control.should_training_stop = True


def test_a_training_with_everything_resumes_to_the_same_bits(tmp_path):
    straight = llama_trainer(tmp_path / "straight", use_cpu=False)
    assert straight.args.device.type == DEVICE
    straight.train()
    llama_trainer(tmp_path / "resumed", callbacks=[StopAt()], use_cpu=False).train()
    resumed = llama_trainer(tmp_path / "resumed", use_cpu=False)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 12
    assert_equal_bits(weights(straight.model), weights(resumed.model))
