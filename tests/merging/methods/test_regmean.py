import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.merging.methods.regmean import RegMean
from hf_compress.merging.operands import Operands


def random(*shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def operands(tensors, grams=None, weights=(1.0, 1.0)):
    statistics = {} if grams is None else {"gram": tuple(grams)}
    return Operands(name="w", members=("a", "b"), tensors=tuple(tensors), values={"weight": weights}, statistics=statistics)


def test_a_hand_computed_example_with_diagonal_grams():
    grams = [torch.diag(torch.tensor([3.0, 1.0])), torch.diag(torch.tensor([1.0, 1.0]))]
    merged = RegMean().merge(operands([torch.tensor([[4.0, 4.0]]), torch.tensor([[0.0, 0.0]])], grams), None)
    torch.testing.assert_close(merged, torch.tensor([[3.0, 2.0]]))


@pytest.mark.parametrize("weights", [(1.0, 1.0), (0.3, 2.0)])
def test_with_alpha_one_it_is_the_least_squares_solution_on_the_inputs(weights):
    inputs = [random(40, 6, seed=0) @ random(6, 6, seed=1), random(30, 6, seed=2)]
    layers = [random(4, 6, seed=3), random(4, 6, seed=4)]
    merged = RegMean(alpha=1.0).merge(operands(layers, [x.T @ x for x in inputs], weights), None)
    roots = [weight**0.5 for weight in weights]
    stacked = torch.cat([root * x.double() for root, x in zip(roots, inputs, strict=True)])
    wanted = torch.cat([root * (x @ w.T).double() for root, x, w in zip(roots, inputs, layers, strict=True)])
    # The gram matrices are rounded to fp32 and the condition number is about 1e3.
    torch.testing.assert_close(merged, torch.linalg.lstsq(stacked, wanted).solution.T.float(), atol=1e-4, rtol=1e-4)


def test_below_one_alpha_scales_the_elements_off_the_diagonal():
    inputs, layers = [random(40, 6, seed=0), random(30, 6, seed=2)], [random(4, 6, seed=3), random(4, 6, seed=4)]
    grams = [x.T @ x for x in inputs]
    merged = RegMean(alpha=0.4).merge(operands(layers, grams), None)
    scaled = [0.4 * gram.double() + 0.6 * torch.diag(gram.diag().double()) for gram in grams]
    wanted = torch.linalg.inv(sum(scaled)) @ sum(g @ w.T.double() for g, w in zip(scaled, layers, strict=True))
    torch.testing.assert_close(merged, wanted.T.float(), atol=1e-5, rtol=0)
    diagonal = RegMean(alpha=0.0).merge(operands(layers, grams), None)
    squares = [gram.diag() for gram in grams]
    torch.testing.assert_close(
        diagonal, (squares[0] * layers[0] + squares[1] * layers[1]) / sum(squares), atol=1e-5, rtol=0
    )


def test_inputs_along_the_first_dimension_are_marked_by_the_gram_matrix():
    inputs, layers = [random(40, 5, seed=0), random(30, 5, seed=2)], [random(5, 5, seed=3), random(5, 5, seed=4)]
    grams = [x.T @ x for x in inputs]
    linear = RegMean().merge(operands(layers, grams), None)
    conv1d = RegMean().merge(operands([layer.T for layer in layers], [gram[..., None] for gram in grams]), None)
    torch.testing.assert_close(conv1d.T, linear)


@pytest.mark.parametrize("alpha", [0.9, 1.0])
def test_inputs_that_no_data_reach_keep_the_weighted_mean(alpha):
    inputs = [random(40, 4, seed=0), random(40, 4, seed=1)]
    for x in inputs:
        x[:, 1] = 0
    layers = [random(3, 4, seed=3), random(3, 4, seed=4)]
    merged = RegMean(alpha=alpha).merge(operands(layers, [x.T @ x for x in inputs], (1.0, 3.0)), None)
    torch.testing.assert_close(merged[:, 1], (layers[0][:, 1] + 3 * layers[1][:, 1]) / 4)


def test_fewer_tokens_than_inputs_still_repeat_the_outputs_of_both():
    inputs, layers = [random(3, 16, seed=0), random(4, 16, seed=1)], [random(5, 16, seed=3), random(5, 16, seed=4)]
    merged = RegMean(alpha=1.0).merge(operands(layers, [x.T @ x for x in inputs]), None)
    for x, layer in zip(inputs, layers, strict=True):
        # Gram matrices square the condition number, here about 10, on top of fp32.
        torch.testing.assert_close(x @ merged.T, x @ layer.T, atol=1e-4, rtol=1e-4)


def test_sixteen_bit_members_with_their_outputs_along_the_rows_are_solved_in_fp64():
    inputs, layers = [random(40, 6, seed=0), random(30, 6, seed=2)], [random(4, 6, seed=3), random(4, 6, seed=4)]
    grams = [x.T @ x for x in inputs]
    half = [layer.bfloat16() for layer in layers]
    merged = RegMean().merge(operands(half, grams), None)
    assert merged.dtype is torch.float32 and merged.is_contiguous()
    assert torch.equal(merged, RegMean().merge(operands([layer.float() for layer in half], grams), None))


def test_tensors_without_a_gram_matrix_get_the_weighted_mean():
    bias = operands([torch.tensor([1.0, 2.0]), torch.tensor([5.0, 6.0])], weights=(1.0, 3.0))
    torch.testing.assert_close(RegMean().merge(bias, None), torch.tensor([4.0, 5.0]))


def test_a_gram_matrix_of_another_layer_a_negative_weight_and_a_wrong_alpha_are_refused():
    layers = [torch.ones(2, 3), torch.ones(2, 3)]
    with pytest.raises(CompressionError, match=r"w: the gram matrix of b has the shape \(2, 2\)"):
        RegMean().merge(operands(layers, [torch.eye(3), torch.eye(2)]), None)
    with pytest.raises(CompressionError, match="weights >= 0"):
        RegMean().check_weights((1.0, -1.0), "w")
    with pytest.raises(CompressionError, match=r"alpha=1.5 lies outside \[0, 1\]"):
        RegMean(alpha=1.5)
