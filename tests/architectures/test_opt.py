"""OPT's row."""

import torch
from transformers import OPTConfig

from hf_compress.architectures.opt import OPT
from tests.architectures.small import small_batch, small_model


def test_with_norms_behind_the_parts_the_feed_forward_part_reads_the_attentions():
    assert set(OPT().stacks(OPTConfig())[0].norm_readers) == {"self_attn_layer_norm", "final_layer_norm"}
    model = small_model(OPT(), do_layer_norm_before=False)
    block, seen = model.model.decoder.layers[1], {}
    block.self_attn_layer_norm.register_forward_hook(lambda _, args, output: seen.update(gave=output))
    block.fc1.register_forward_pre_hook(lambda _, args: seen.update(given=args[0]))
    model(**small_batch(model))
    assert torch.equal(seen["gave"].flatten(0, 1), seen["given"])
    assert OPT().stacks(model.config)[0].norm_readers == {"self_attn_layer_norm": ("fc1",)}
