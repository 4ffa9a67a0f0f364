"""One-shot pruning block by block."""

import pytest
import torch

from hf_compress import (
    NM,
    OWL,
    Blocks,
    CompressionError,
    Constant,
    Global,
    Pruning,
    Reconstruction,
    SparseGPT,
    Taylor,
    Threshold,
    WholeColumns,
    WholeRows,
    prune,
)
from hf_compress._modules.matrix import as_stored, own_matrix
from hf_compress.calibration.collect import collect
from tests.pruning.needy import Needy
from tests.tiny import tiny_bert, tiny_gpt2, tiny_llama, tiny_t5

SOLVER = SparseGPT(block=8)


def batches(count=2, **more):
    generator = torch.Generator().manual_seed(0)
    return [{"input_ids": torch.randint(3, 60, (3, 9), generator=generator), **more} for _ in range(count)]


def half(**changes):
    return Pruning(schedule=Constant(final=0.5), **changes)


def kinds_of_blocks(model, layers):
    """The layers by block, in order; what is in no block comes alone."""
    found = {}
    for name in layers:
        head = name.split(".layers.")[0] + name.split(".layers.")[1].split(".")[0] if ".layers." in name else name
        found.setdefault(head, []).append(name)
    return list(found.values())


@pytest.mark.parametrize("pattern", [None, NM()])
def test_a_solver_goes_block_by_block_as_by_hand(pattern):
    """By hand: the statistics of a block are collected at once, behind blocks that are solved."""
    given = half() if pattern is None else half(pattern=pattern)
    model, slow = tiny_llama(), tiny_llama()
    masks = prune(model, given, batches(), solver=SOLVER)
    for names in kinds_of_blocks(slow, masks):
        some = {name: slow.get_submodule(name) for name in names}
        gram = collect(slow, batches(), ["gram"], modules=some)["gram"]
        for name, module in some.items():
            weight, keep = SOLVER.solve(own_matrix(module), {"gram": gram[f"{name}.weight"]}, given.pattern, 0.5)
            assert torch.equal(masks[name], keep)
            with torch.no_grad():
                module.weight.copy_(as_stored(module, weight))
    for name, value in slow.state_dict().items():
        torch.testing.assert_close(model.state_dict()[name], value)


def test_outputs_are_nearer_to_those_of_before_than_with_the_same_sparsity_of_magnitude():
    dense, solved, plain = tiny_llama(), tiny_llama(), tiny_llama()
    prune(solved, half(), batches(8), solver=SOLVER)
    prune(plain, half())

    def apart(model):
        with torch.no_grad():
            return sum(float((model(**one).logits - dense(**one).logits).square().mean()) for one in batches(8))

    assert apart(solved) < 0.5 * apart(plain)


@pytest.mark.parametrize(("make", "target"), [(tiny_gpt2, "Conv1D"), (tiny_bert, "Linear")])
def test_other_kinds_of_layers(make, target):
    model = make()
    masks = prune(model, half(targets=(target,)), batches(), solver=SOLVER)
    for name, keep in masks.items():
        weight = own_matrix(model.get_submodule(name))
        assert (weight[~keep] == 0).all() and int((~keep).sum()) == round(0.5 * keep.numel())


def test_a_decoder_reads_the_pruned_encoder():
    model = tiny_t5()
    masks = prune(model, half(), batches(decoder_input_ids=torch.arange(3, 15).reshape(3, 4)), solver=SOLVER)
    assert any("encoder" in name for name in masks) and any("decoder" in name for name in masks)


def test_a_criterion_in_order_sees_pruned_blocks():
    """The first block's masks are those of one pass; a later block's are not, and equal those collected behind it."""
    at_once, ordered, slow = tiny_llama(), tiny_llama(), tiny_llama()
    pruning = half(criterion=Needy())
    first = prune(at_once, pruning, batches())
    found = prune(ordered, pruning, batches(), in_order=True)
    assert torch.equal(found["model.layers.0.mlp.up_proj"], first["model.layers.0.mlp.up_proj"])
    assert any(not torch.equal(found[name], first[name]) for name in found if "layers.1" in name)
    for names in kinds_of_blocks(slow, found):
        masks = prune(slow, half(criterion=Needy(), targets=tuple(names), ignore=()), batches())
        assert all(torch.equal(masks[name], found[name]) for name in names)


def test_blocks_are_decided_together():
    pattern = Blocks(rows=2, columns=4)
    masks = prune(tiny_llama(), half(pattern=pattern), batches(), solver=SOLVER)
    for keep in masks.values():
        blocks = keep.unflatten(1, (-1, 4)).unflatten(0, (-1, 2)).transpose(1, 2).flatten(2)
        assert (blocks.all(-1) | ~blocks.any(-1)).all() and not keep.all()


def test_zeros_stay_and_count_first():
    model = tiny_llama()
    layer = model.model.layers[0].mlp.up_proj
    with torch.no_grad():
        layer.weight[:5] = 0.0
    masks = prune(model, half(), batches(), solver=SOLVER)["model.layers.0.mlp.up_proj"]
    assert (layer.weight[:5] == 0).all() and int((~masks).sum()) == max(round(0.5 * masks.numel()), 5 * masks.shape[1])


@pytest.mark.parametrize(
    ("pruning", "calibration", "options", "sentence"),
    [
        ({}, None, {"solver": SOLVER}, "calibration: sparsegpt needs gram, measured on examples"),
        ({"criterion": Needy()}, None, {"in_order": True}, "calibration: needy needs input_norm, measured on examples"),
        ({}, {"gram": {}}, {"solver": SOLVER}, "calibration holds statistics that were collected at once"),
        ({"criterion": Needy()}, [], {"solver": SOLVER}, "pruning.criterion: sparsegpt chooses by itself"),
        ({"allocation": Global()}, [], {"solver": SOLVER}, "pruning.allocation: global compares the scores of all layers"),
        ({"pattern": NM()}, [], {"solver": SparseGPT(block=6)}, "blocks of 6 columns hold no whole groups of m=4"),
        ({"pattern": Blocks()}, [], {"solver": SparseGPT(block=6)}, "6 columns hold no whole blocks of columns=4"),
        ({"pattern": WholeRows()}, [], {"solver": SOLVER}, "rows: whole rows cannot be decided from left to right"),
        ({"pattern": WholeColumns()}, [], {"solver": SOLVER}, "columns: whole columns cannot be decided from left"),
        ({}, [], {"solver": SOLVER}, "batches is empty"),
        ({"criterion": Taylor()}, [], {"in_order": True}, "pruning.criterion: taylor needs gradient_size, of gradients"),
    ],
)
def test_refused_before_anything_changes(pruning, calibration, options, sentence):
    model = tiny_llama()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CompressionError, match=sentence):
        prune(model, half(**pruning), calibration, **options)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("options", [{"solver": SOLVER}, {"reconstruct": Reconstruction(steps=1)}], ids=["solver", "fit"])
def test_weights_of_a_later_block_that_are_no_numbers_are_refused_before_the_first_is_pruned(options):
    model = tiny_llama()
    model.model.layers[1].mlp.down_proj.weight.data[0, 0] = torch.nan
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CompressionError, match=r"^model\.layers\.1\.mlp\.down_proj\.weight holds NaN"):
        prune(model, half(), batches(), **options)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0, equal_nan=True)


def test_a_threshold_that_takes_all_of_a_later_block_is_refused_before_the_first_is_pruned():
    model = tiny_llama()
    model.model.layers[1].mlp.up_proj.weight.data.mul_(1e-3)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.raises(CompressionError, match=r"weights of model\.layers\.1\.mlp\.up_proj lie below"):
        prune(model, Pruning(criterion=Threshold(value=0.005)), batches(), reconstruct=Reconstruction(steps=1))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_an_allocation_that_looks_at_the_whole_model_is_refused_block_by_block_with_any_criterion():
    with pytest.raises(
        CompressionError, match="pruning.allocation: owl compares the scores of all layers, and block by block"
    ):
        prune(tiny_llama(), half(allocation=OWL()), batches(), in_order=True)
