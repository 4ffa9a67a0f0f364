"""The model itself."""

import torch

from hf_compress.evaluation.cost.batches import batch_of
from hf_compress.evaluation.cost.runtimes.eager import Eager
from tests.tiny import tiny_llama


def test_it_is_the_model_without_gradients():
    model = tiny_llama().eval()
    batch = batch_of(model, 2, 6)
    prepared = Eager().prepare(model, batch)
    logits = prepared.call(batch).logits
    assert torch.equal(logits, model(**batch).logits)
    assert not logits.requires_grad
    assert prepared.model is model
