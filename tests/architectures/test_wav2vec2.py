"""The rows of Wav2Vec2 and HuBERT."""

import pytest
import torch

from hf_compress import ShrinkPlan, choose_parts, shrink
from hf_compress.architectures.wav2vec2 import Hubert, Wav2Vec2
from tests.architectures.small import small_batch, small_model

ROWS = pytest.mark.parametrize("row", [Wav2Vec2(), Hubert()], ids=lambda row: row.name)


@ROWS
def test_with_norms_before_the_parts_each_reads_its_own_and_it_shrinks_as_well(row):
    model = small_model(row, do_stable_layer_norm=True, feat_extract_norm="layer", conv_bias=True)
    block, given, gave = model.base_model.encoder.layers[1], {}, {}
    for norm, reader in (("layer_norm", "attention.q_proj"), ("final_layer_norm", "feed_forward.intermediate_dense")):
        block.get_submodule(norm).register_forward_hook(lambda _, args, output, norm=norm: gave.update({norm: output}))
        block.get_submodule(reader).register_forward_pre_hook(lambda _, args, norm=norm: given.update({norm: args[0]}))
    batch = small_batch(model)
    with torch.no_grad():
        model(**batch)
    assert all(torch.equal(given[norm], gave[norm]) for norm in gave)
    readers = row.stacks(model.config)[0].norm_readers
    assert list(readers) == list(gave) and "attention.q_proj" in readers["layer_norm"]
    choice = choose_parts(model, ShrinkPlan(feed_forward=0.5, layers=2), [batch])
    assert shrink(model, choice)(**batch).logits.isfinite().all()
    assert choice.after.macs < choice.before.macs and choice.row.startswith("input_values")


@ROWS
def test_the_convolutions_stay_as_they_are(row):
    model = small_model(row)
    small = shrink(model, ShrinkPlan(feed_forward=0.5, layers=[1]))
    own, kept = model.base_model.state_dict(), small.base_model.state_dict()
    outside = [name for name in own if not name.startswith("encoder.layers.")]
    assert any("pos_conv_embed" in name for name in outside) and any("feature_extractor" in name for name in outside)
    assert all(torch.equal(own[name], kept[name]) for name in outside)
