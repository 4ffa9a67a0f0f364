"""What a block changes: against hidden states read one by one, and for a block that changes nothing."""

import pytest
import torch

from hf_compress import CompressionError
from hf_compress.pruning.shrink.influence import block_influence
from tests.tiny import tiny_bert, tiny_llama


def padded(rows=3, length=9):
    generator = torch.Generator().manual_seed(0)
    mask = torch.ones(rows, length, dtype=torch.long)
    for row in range(rows):
        mask[row, length - row :] = 0
    return {"input_ids": torch.randint(3, 64, (rows, length), generator=generator), "attention_mask": mask}


@pytest.mark.parametrize("make", [tiny_llama, tiny_bert])
def test_it_is_one_minus_the_mean_cosine_over_tokens_that_are_no_padding(make):
    model = make().eval()
    blocks = list(model.base_model.layers if make is tiny_llama else model.base_model.encoder.layer)
    batches, slow = [padded(), padded(1)], [0.0, 0.0]
    tokens = sum(int(batch["attention_mask"].sum()) for batch in batches)
    for batch in batches:
        states = []
        for block in blocks:
            block.register_forward_pre_hook(lambda _, args, states=states: states.append(args[0]))
            block.register_forward_hook(lambda _, args, output, states=states: states.append(output))
        with torch.no_grad():
            model(**batch)
        for row, kept in enumerate(batch["attention_mask"]):
            for place in range(int(kept.sum())):
                for block in range(2):
                    before, after = states[2 * block][row, place], states[2 * block + 1][row, place]
                    slow[block] += 1 - float(before @ after / before.norm() / after.norm())
        for block in blocks:
            block._forward_hooks.clear()
            block._forward_pre_hooks.clear()
    torch.testing.assert_close(
        block_influence(model, blocks, batches), [one / tokens for one in slow], rtol=1e-4, atol=1e-6
    )


def test_a_block_that_writes_nothing_has_none_and_leaves_no_trace():
    model = tiny_llama().train()
    block = model.model.layers[1]
    block.self_attn.o_proj.weight.data.zero_()
    block.mlp.down_proj.weight.data.zero_()
    first, second = block_influence(model, list(model.model.layers), [padded()])
    assert second == pytest.approx(0, abs=1e-6) and first > 1e-4
    assert model.training and not block._forward_hooks and block.mlp.down_proj.weight.requires_grad


def test_no_batch_and_hidden_states_that_are_not_finite_are_refused():
    model = tiny_llama()
    with pytest.raises(CompressionError, match="calibration shows layer 0 no token"):
        block_influence(model, list(model.model.layers), [])
    model.model.embed_tokens.weight.data.fill_(float("nan"))
    with pytest.raises(CompressionError, match="hidden states are NaN"):
        block_influence(model, list(model.model.layers), [padded()])
