"""Local reconstruction."""

import pytest
import torch
from torch import nn

from hf_compress import CompressionError, Constant, Pruning, Reconstruction, SparseGPT, prune
from hf_compress._modules.matrix import own_matrix
from hf_compress.calibration.chains import stages_in_order
from hf_compress.calibration.in_order import Call, Part
from hf_compress.pruning.reconstruction import Unit, fit, record
from tests.tiny import tiny_bert, tiny_gpt2, tiny_llama, tiny_t5, tiny_vit

HALF = Pruning(schedule=Constant(final=0.5))


def batches(count=2, **more):
    generator = torch.Generator().manual_seed(0)
    return [{"input_ids": torch.randint(3, 60, (3, 9), generator=generator), **more} for _ in range(count)]


def linear_unit(bias=False):
    """One layer of which a half is pruned, with 50 rows in two calls."""
    torch.manual_seed(0)
    layer = nn.Linear(6, 4, bias=bias)
    inputs = torch.randn(2, 25, 6) @ torch.randn(6, 6)
    calls = [((one,), {}, layer(one).detach(), None) for one in inputs]
    keep = torch.arange(24).reshape(4, 6) % 2 == 0
    return Unit(name="layer", module=layer, layers={"layer": layer}, calls=calls), keep, inputs.flatten(0, 1)


def test_a_linear_layer_ends_at_least_squares():
    unit, keep, x = linear_unit()
    dense = unit.module.weight.detach().clone()
    with torch.no_grad():
        unit.module.weight.mul_(keep)
    before, after = fit(unit, {"layer": keep}, Reconstruction(steps=600, learning_rate=0.05))
    wanted = x @ dense.T
    best = torch.zeros_like(dense)
    for row in range(4):
        best[row, keep[row]] = torch.linalg.lstsq(x[:, keep[row]], wanted[:, row : row + 1]).solution.squeeze(-1)
    least = float((x @ best.T - wanted).square().sum() / wanted.square().sum())
    assert after == pytest.approx(least, rel=1e-2) and after < before
    assert (unit.module.weight[~keep] == 0).all()
    torch.testing.assert_close(unit.module.weight.detach(), best, rtol=0.0, atol=0.05)


def test_rows_of_padding_do_not_count():
    unit, keep, _ = linear_unit()
    with torch.no_grad():
        unit.module.weight.mul_(keep)
    rows = torch.arange(25) < 5
    some = Unit(name="layer", module=unit.module, layers=unit.layers, calls=[(*unit.calls[0][:3], rows)])
    args, _, wanted, _ = unit.calls[0]
    missed = (unit.module(args[0][:5]) - wanted[:5]).square().sum() / wanted[:5].square().sum()
    assert fit(some, {"layer": keep}, Reconstruction(steps=1, learning_rate=1e-9))[0] == pytest.approx(missed.item())


def test_weights_that_are_worse_are_not_taken():
    unit, keep, _ = linear_unit()
    with torch.no_grad():
        unit.module.weight.mul_(keep)
    start = unit.module.weight.detach().clone()
    before, after = fit(unit, {"layer": keep}, Reconstruction(steps=1, learning_rate=1e4))
    assert before == after and torch.equal(unit.module.weight, start)


def test_low_precision_weights_are_fitted_in_fp32_and_end_as_they_were_stored():
    unit, keep, _ = linear_unit(bias=True)
    unit.module.bfloat16().requires_grad_(False)
    unit.calls = [((one.bfloat16(),), kwargs, wanted.bfloat16(), rows) for (one,), kwargs, wanted, rows in unit.calls]
    bias = unit.module.bias.clone()
    unit.module.weight.mul_(keep)
    before, after = fit(unit, {"layer": keep}, Reconstruction(steps=200, learning_rate=0.01))
    assert after < 0.8 * before and unit.module.weight.dtype == torch.bfloat16 and not unit.module.weight.requires_grad
    assert torch.equal(unit.module.bias, bias) and unit.module.weight.grad is None


@pytest.mark.parametrize("solver", [None, SparseGPT(block=8)])
@pytest.mark.parametrize("scope", ["both", "block"])
def test_outputs_come_nearer_and_masks_stay(solver, scope):
    dense, plain, fitted = tiny_llama(), tiny_llama(), tiny_llama()
    prune(plain, HALF, batches(8), solver=solver)
    masks = prune(fitted, HALF, batches(8), solver=solver, reconstruct=Reconstruction(scope=scope, steps=60))

    def apart(model):
        with torch.no_grad():
            return sum(float((model(**one).logits - dense(**one).logits).square().mean()) for one in batches(8))

    assert apart(fitted) < 0.8 * apart(plain)
    assert all((own_matrix(fitted.get_submodule(name))[~keep] == 0).all() for name, keep in masks.items())
    for name, weight in fitted.named_parameters():
        assert weight.requires_grad and weight.grad is None
        assert torch.equal(weight, dense.get_parameter(name)) == (name.removesuffix(".weight") not in masks)


def pixels():
    size = tiny_vit().config.image_size
    return {"pixel_values": torch.randn(1, 3, size, size)}


TEXT = batches(1)[0]
SEQ2SEQ = batches(1, decoder_input_ids=torch.arange(3, 15).reshape(3, 4))[0]


@pytest.mark.parametrize(
    ("model", "batch", "attention", "mlp"),
    [
        (tiny_llama(), TEXT, ["self_attn"], ["mlp"]),
        (tiny_gpt2(), TEXT, ["attn"], ["mlp"]),
        (tiny_bert(), TEXT, ["attention"], ["intermediate", "output"]),
        (tiny_t5(), SEQ2SEQ, ["layer.0"], ["layer.1"]),
    ],
)
def test_which_parts_of_a_block_are_attention(model, batch, attention, mlp):
    kinds = (nn.Linear, type(tiny_gpt2().transformer.h[0].attn.c_attn))
    layers = {name: one for name, one in model.named_modules() if isinstance(one, kinds)}
    chain = next(chain for chain in stages_in_order(model.eval(), batch, layers) if len(chain) > 1)
    part = Part(name=chain[0].name, module=chain[0].block, layers=chain[0].layers, calls=[])
    seen = []
    hook = part.module.register_forward_pre_hook(lambda _, args, kwargs: seen.append((args, kwargs)), with_kwargs=True)
    model(**batch)
    hook.remove()
    part.calls = [Call(batch=batch, args=seen[0][0], kwargs=seen[0][1])]
    for scope, wanted in (("attention", attention), ("mlp", mlp), ("both", [*attention, *mlp])):
        assert [unit.name for unit in record(part, model, scope)] == [f"{part.name}.{name}" for name in wanted]
    (whole,) = record(part, model, "block")
    assert whole.layers.keys() == part.layers.keys()


def test_refused():
    with pytest.raises(CompressionError, match="reconstruct.steps=0 must be 1 or more"):
        Reconstruction(steps=0)
    with pytest.raises(CompressionError, match="reconstruct.learning_rate=0 must be above 0"):
        Reconstruction(learning_rate=0.0)
    with pytest.raises(CompressionError, match="scope"):
        Reconstruction(scope="head")
    with pytest.raises(CompressionError, match="calibration: reconstruct needs outputs, measured on examples"):
        prune(tiny_llama(), HALF, reconstruct=Reconstruction())
