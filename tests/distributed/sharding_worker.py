"""One of two processes: `python -m torch.distributed.run ... sharding_worker.py <folder> <name>=<module of lay_out> ...`.

Each sharding's own test says how a model is laid out and, where it is not trained as any other, how it is `trained` and
what its optimizer's `states` are; what is then done to the model is done to a whole copy as well: both must end alike.
"""

import copy
import importlib
import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from hf_compress import ERK, NM, Cubic, Global, Pruning, Random, Threshold, WholeRows, _distributed
from hf_compress._modules.parts import across_matrix, whole_matrix
from hf_compress._sharding.across import ALONE
from hf_compress._sharding.contract import full_shape, local, shard, sharding_of, whole
from hf_compress.pruning.allocation import Allocation
from hf_compress.pruning.compute import measure_sparsity
from hf_compress.pruning.criterion import Criterion
from hf_compress.pruning.masks import Masks
from hf_compress.pruning.pattern import Pattern, keep_largest
from hf_compress.pruning.prune import prune
from tests.tiny import tiny_gpt2, tiny_llama


@dataclass(frozen=True, kw_only=True)
class InItsRow(Criterion, name="test_in_its_row"):
    """A score that depends on the other weights of both its row and its column."""

    def score(self, weight, stats):
        weight = weight.detach().float()
        return weight.abs() / weight.norm(dim=1, keepdim=True) / weight.norm(dim=0, keepdim=True)


@dataclass(frozen=True, kw_only=True)
class AmongItsRow(Criterion, name="test_among_its_row"):
    """Magnitude, compared within each row."""

    @property
    def in_rows(self):
        return True

    def score(self, weight, stats):
        return weight.detach().float().abs()


@dataclass(frozen=True, kw_only=True)
class Anywhere(Pattern, name="test_anywhere"):
    """A pattern whose author thought of whole layers alone."""

    def mask(self, score, sparsity):
        return keep_largest(score - score.mean(), round(sparsity * score.numel()))


@dataclass(frozen=True, kw_only=True)
class LargeLayersMore(Allocation, name="test_large_layers_more"):
    """An allocation that looks at whole layers."""

    def shares(self, scores, sparsity):
        means = {name: float(score.double().mean()) for name, score in scores.items()}
        lowest = min(means, key=means.get)
        return {name: sparsity / 2 if name == lowest else sparsity for name in scores}


JOBS = {
    "unstructured": {},
    "global": {"allocation": Global()},
    "2:4": {"pattern": NM(n=2, m=4)},
    "a score of whole layers": {"criterion": InItsRow(), "allocation": Global()},
    "a pattern of whole layers": {"pattern": Anywhere()},
    "compared in rows": {"criterion": AmongItsRow()},
    "chance": {"criterion": Random()},
    "a threshold": {"criterion": Threshold(value=0.03)},
    "whole rows": {"pattern": WholeRows()},
    "erk": {"allocation": ERK()},
    "an allocation of whole layers": {"allocation": LargeLayersMore()},
}
TARGETS = {"llama": ("Linear",), "gpt2": ("Conv1D",)}
OF_ROWS = ("2:4", "a score of whole layers", "a pattern of whole layers", "compared in rows", "whole rows")
"""What looks at rows or columns, and so at weights that are stored the other way round."""


def jobs_of(kind, own):
    """The names of those that one of the models is put through."""
    return [name for name in getattr(own, "jobs", JOBS) if kind == "llama" or name in OF_ROWS or hasattr(own, "jobs")]


def models():
    """Rows and columns are cut, into unequal parts, and few values make many ties."""
    for name, model in {
        "llama": tiny_llama(seed=0, vocab_size=63, intermediate_size=44, tie_word_embeddings=False),
        "gpt2": tiny_gpt2(seed=1),
    }.items():
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_((parameter * 200).round() / 200)
        yield name, model


def trained(model):
    """One step of AdamW, so that there are gradients and moments."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, weight_decay=0.0)
    for parameter in model.parameters():
        parameter.grad = parameter.detach().clone() + 1
    optimizer.step()
    return optimizer


def states(parameter, optimizer):
    """The parts of its two moments."""
    found = []
    sharding_of(parameter).edit_states(parameter, optimizer, lambda part: found.append(whole(part.clone(), like=parameter)))
    return found


def check_tensors(alone, model):
    """The contract itself."""
    for (name, expected), parameter in zip(alone.named_parameters(), model.parameters(), strict=True):
        part, found = local(parameter), sharding_of(parameter)
        assert full_shape(parameter) == expected.shape, name
        assert torch.equal(whole(part, like=parameter), expected), name
        assert torch.equal(shard(expected.detach(), like=parameter), part), name
        assert torch.equal(whole(part == 0, like=parameter), expected == 0), name
        total = found.across(parameter).total(part.numel())
        assert total == expected.numel() and (found.dimension(parameter) is not None or part.numel() == total), name
        before = part.clone()
        with torch.no_grad():
            found.edit(parameter, lambda one: one.add_(1))
            assert torch.equal(whole(local(parameter), like=parameter), expected + 1), name
            found.edit(parameter, lambda one, before=before: one.copy_(before))


def gathered(masks):
    return {name: whole_matrix(masks.modules[name], keep) for name, keep in masks.keep.items()}


def assert_alike(expected, found):
    assert list(expected) == list(found)
    assert all(torch.equal(keep, found[name]) for name, keep in expected.items())


def check_masks(alone, model, job, own):
    """Grown twice, applied, read back; returns how many weights they prune."""
    one, many = Masks(alone, job), Masks(model, job)
    optimizers = trained(alone), getattr(own, "trained", trained)(model)
    for sparsity in (0.2, 0.5):
        for masks, optimizer in zip((one, many), optimizers, strict=True):
            masks.update(sparsity)
            masks.apply()
            masks.apply_to_gradients()
            masks.apply_to_optimizer(optimizer)
        assert_alike(one.keep, gathered(many))
        assert int(many.num_zeros()) == int(one.num_zeros()) and many.num_pruned() == one.num_pruned()
        assert many.num_weights() == one.num_weights() and many.fewest_zeros(sparsity) == one.fewest_zeros(sparsity)
        assert measure_sparsity(model, job) == measure_sparsity(alone, job)
    for (name, expected), parameter in zip(alone.named_parameters(), model.parameters(), strict=True):
        assert torch.equal(whole(local(parameter), like=parameter), expected), name
        gradient = sharding_of(parameter).gradient(parameter)
        if gradient is not None:
            assert torch.equal(whole(gradient, like=parameter), expected.grad), name
        kept = [value for value in optimizers[0].state[expected].values() if value.shape == expected.shape]
        found = getattr(own, "states", states)(parameter, optimizers[1])
        assert len(found) == len(kept) == 2
        for part, state in zip(found, kept, strict=True):  # zeros are zeros; a flat tensor may round otherwise
            torch.testing.assert_close(part, state, rtol=1e-6, atol=0.0)
    pruned = many.num_pruned()
    check_reading(one, many)
    return pruned


def check_reading(one, many):
    """Masks from zeros: with zeros that are free, and a layer of zeros only."""
    for masks in (one, many):
        first, *_, last = masks.modules
        weight = masks.modules[last].weight
        with torch.no_grad():
            sharding_of(weight).edit(weight, lambda part: part.zero_())
        masks.keep.pop(first)
        masks.free = masks.free_zeros()
        assert {first, last} <= set(masks.free)
    assert_alike(one.free, many.free)
    for read in (Masks.hold_zeros, lambda masks: masks.read_zeros(masks.free)):
        read(one)
        read(many)
        assert_alike(one.keep, gathered(many))


def check_one_shot(alone, model, job):
    """A forward pass without a backward pass leaves the outermost weights gathered: it must not matter."""
    with torch.no_grad():
        model(input_ids=torch.arange(6).view(1, 6))
    found = prune(model, job)
    for name, keep in prune(alone, job).items():
        assert torch.equal(whole_matrix(model.get_submodule(name), found[name]), keep)
    with torch.no_grad():
        model(input_ids=torch.arange(6).view(1, 6))
    assert measure_sparsity(model, job) == measure_sparsity(alone, job)
    many, one = Masks(model, job), Masks(alone, job)
    with torch.no_grad():
        model(input_ids=torch.arange(6).view(1, 6))
    assert int(many.num_zeros()) == int(one.num_zeros())
    check_tensors(alone, model)


def check(own):
    """Everything, for one sharding; how many layers are sharded, and how many weights each job pruned."""
    done = {}
    for kind, model in models():
        jobs = {
            name: Pruning(**JOBS[name], schedule=Cubic(final=0.5), targets=TARGETS[kind]) for name in jobs_of(kind, own)
        }
        laid_out = own.lay_out(copy.deepcopy(model))
        check_tensors(model, laid_out)
        every = Pruning(schedule=Cubic(final=0.5), targets=TARGETS[kind])
        modules = Masks(laid_out, every).modules.values()
        done[f"{kind}: sharded layers"] = sum(across_matrix(module) is not ALONE for module in modules)
        for name, job in jobs.items():
            done[f"{kind}: {name}"] = check_masks(copy.deepcopy(model), own.lay_out(copy.deepcopy(model)), job, own)
        check_one_shot(copy.deepcopy(model), laid_out, replace(every, allocation=Global()))
    return done


if __name__ == "__main__":
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    folder, places = Path(sys.argv[1]), dict(one.split("=") for one in sys.argv[2:])
    for name, module in places.items():
        done = check(importlib.import_module(module))
        (folder / f"{name}{torch.distributed.get_rank()}.json").write_text(json.dumps(done))
    _distributed.leave()
