"""GPT-NeoX's row."""

import torch

from hf_compress import ShrinkPlan, shrink
from hf_compress.architectures.gpt_neox import GPTNeoX
from tests.architectures.small import small_batch, small_model


def test_parts_one_after_the_other_shrink_as_parts_side_by_side_do():
    for parallel in (True, False):
        model = small_model(GPTNeoX(), use_parallel_residual=parallel)
        for layer in model.gpt_neox.layers:
            layer.mlp.dense_4h_to_h.weight.data[:, 12:] = 0
        small, batch = shrink(model, ShrinkPlan(feed_forward=0.5)), small_batch(model)
        with torch.no_grad():
            torch.testing.assert_close(small(**batch).logits, model(**batch).logits, atol=1e-5, rtol=1e-5)
