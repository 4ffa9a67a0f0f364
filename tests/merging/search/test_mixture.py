import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.merging.search.mixture import Mixture, cycle, loss_and_gradients, own_tensors
from tests.tiny import tiny_bert, tiny_llama


def test_the_gradient_of_the_coefficients_is_that_of_autograd_through_the_mixture():
    model, others = tiny_bert().eval(), [tiny_bert(seed=1), tiny_bert(seed=2)]
    states = [own_tensors(model, str(n), other.state_dict()) for n, other in enumerate(others)]
    mixture = Mixture(states, None, "layer")
    batch = {"input_ids": torch.tensor([[5, 6, 7, 8]]), "labels": torch.tensor([1])}
    coefficients = torch.tensor([[0.3, 0.7], [0.5, 0.6], [0.2, 0.9]])
    _, gradients = loss_and_gradients(model, mixture.tensors(coefficients), batch, lambda output, batch: output.loss)
    fast = mixture.gradient(gradients)

    slow = coefficients.clone().requires_grad_()
    rows = {None: 0, r"re:bert\.encoder\.layer\.0\.": 1, r"re:bert\.encoder\.layer\.1\.": 2}
    assert mixture.groups == list(rows)

    def row(name):
        return next((number for group, number in rows.items() if group and f"layer.{number - 1}." in name), 0)

    weights = {name: sum(slow[row(name), i] * states[i][name] for i in range(2)) for name in states[0]}
    torch.func.functional_call(model, weights, (), batch).loss.backward()
    torch.testing.assert_close(fast, slow.grad, atol=1e-5, rtol=1e-4)


def test_an_offset_is_added_and_coefficients_become_rules():
    offset, directions = {"a": torch.ones(2), "l.0.w": torch.ones(2)}, [{"a": torch.ones(2), "l.0.w": torch.ones(2)}]
    mixture = Mixture(directions, offset, "layer")
    mixed = mixture.tensors(torch.tensor([[0.5], [2.0]]))
    assert mixed["a"].tolist() == [1.5, 1.5] and mixed["l.0.w"].tolist() == [3.0, 3.0]
    found = mixture.as_coefficients(torch.tensor([[0.5], [2.0]]), ["m"])
    assert found.weights == (0.5,) and found.groups == {r"re:l\.0\.": (2.0,)}


def test_a_shared_parameter_is_mixed_once():
    model = tiny_llama(tie_word_embeddings=True)
    assert "lm_head.weight" not in own_tensors(model, "m", model.state_dict())


def test_a_missing_tensor_and_missing_batches_are_refused():
    state = dict(tiny_bert().state_dict())
    del state["classifier.weight"]
    with pytest.raises(CompressionError, match=r"math holds nothing for classifier.weight, \(3, 32\) in BertFor"):
        own_tensors(tiny_bert(), "math", state)
    with pytest.raises(CompressionError, match="batches is empty"):
        cycle([], 3)
