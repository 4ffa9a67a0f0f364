"""Channels of the hidden states: what they are worth, by hand; that heads go with them; what cannot be said."""

import pytest
import torch
from torch import nn
from transformers import BertForSequenceClassification

from hf_compress import CompressionError, ShrinkPlan, choose_parts, shrink
from hf_compress.pruning.shrink.channels import channel_activity, channel_norm
from tests.tiny import tiny_bert, tiny_gpt2, tiny_llama

BATCH = {"input_ids": torch.randint(3, 64, (2, 8), generator=torch.Generator().manual_seed(0))}


def test_a_channel_is_worth_the_squares_of_all_that_goes_with_it_and_what_is_shared_counts_once():
    embeddings, reader, norm = torch.tensor([[1.0, 2.0], [3.0, 0.0]]), torch.tensor([[5.0, 1.0]]), torch.tensor([2.0, 1.0])
    tensors = {"embeddings": embeddings, "head": embeddings, "reader": reader, "norm": norm, "square": torch.eye(2)}
    along = {"embeddings": (1,), "head": (1,), "reader": (1,), "norm": (0,), "square": (0, 1)}
    assert channel_norm(tensors, along).tolist() == [10.0 + 25.0 + 4.0 + 2.0, 4.0 + 1.0 + 1.0 + 2.0]


def test_a_channel_is_worth_what_the_norms_give_on_all_tokens_but_padding():
    model = tiny_llama().eval()
    norms = {name: module for name, module in model.named_modules() if type(module).__name__.endswith("Norm")}
    gave = {}
    hooks = [
        module.register_forward_hook(lambda _, args, output, name=name: gave.update({name: output.detach()}))
        for name, module in norms.items()
    ]
    batch = {**BATCH, "attention_mask": torch.tensor([[1] * 8, [1] * 5 + [0] * 3])}
    model(**batch)
    [hook.remove() for hook in hooks]
    slow = sum(torch.cat([value[0], value[1, :5]]).abs().mean(0) for value in gave.values())
    assert len(gave) == 5
    torch.testing.assert_close(channel_activity(model, norms, [batch]), slow, rtol=1e-5, atol=0)


def test_channels_that_hold_nothing_go_first():
    model = tiny_llama().eval()
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):
            parameter.data[:8] = 1e-4
        elif parameter.shape[1] == 32 and "o_proj" not in name:
            parameter.data[:, :8] *= 1e-4
        if name.endswith(("o_proj.weight", "down_proj.weight")):
            parameter.data[:8] *= 1e-4
    for batches in (None, [BATCH]):
        assert choose_parts(model, ShrinkPlan(hidden=24), batches).kept.channels == tuple(range(8, 32))


def test_every_tensor_is_cut_along_the_same_channels():
    model = tiny_llama()
    choice = choose_parts(model, ShrinkPlan(hidden=0.5))
    small, kept = shrink(model, choice), list(choice.kept.channels)
    old, new = model.model.layers[0], small.model.layers[0]
    assert len(kept) == 16 and small.config.hidden_size == 16 and small.config.head_dim == 8
    assert torch.equal(small.model.embed_tokens.weight, model.model.embed_tokens.weight[:, kept])
    assert torch.equal(new.input_layernorm.weight, old.input_layernorm.weight[kept])
    assert torch.equal(new.self_attn.q_proj.weight, old.self_attn.q_proj.weight[:, kept])
    assert torch.equal(new.self_attn.o_proj.weight, old.self_attn.o_proj.weight[kept])
    assert torch.equal(small.lm_head.weight, model.lm_head.weight[:, kept])


def test_heads_and_channels_go_together_where_the_class_computes_a_heads_size():
    model = tiny_bert(cls=BertForSequenceClassification)
    choice = choose_parts(model, ShrinkPlan(hidden=16, heads=2), [BATCH])
    small, kept, (group, other) = shrink(model, choice), list(choice.kept.channels), choice.kept.stacks[0].groups[0]
    rows = [*range(8 * group, 8 * group + 8), *range(8 * other, 8 * other + 8)]
    old, new = (one.bert.encoder.layer[0].attention for one in (model, small))
    assert torch.equal(new.self.query.weight, old.self.query.weight[rows][:, kept])
    assert torch.equal(new.output.dense.weight, old.output.dense.weight[kept][:, rows])
    assert torch.equal(small.bert.pooler.dense.weight, model.bert.pooler.dense.weight[kept][:, kept])
    assert torch.equal(small.classifier.weight, model.classifier.weight[:, kept])
    assert (small.config.hidden_size, small.config.num_attention_heads) == (16, 2)


def test_tied_embeddings_stay_tied_and_a_width_that_follows_from_the_hidden_size_stays():
    model = tiny_gpt2()
    small = shrink(model, ShrinkPlan(hidden=0.5, heads=0.5))
    assert small.lm_head.weight is small.transformer.wte.weight
    assert small.config.n_embd == model.config.n_embd // 2 and small.config.n_inner == 4 * model.config.n_embd


@pytest.mark.parametrize(
    ("make", "plan", "said"),
    [
        (tiny_llama, {"hidden": 33}, "hidden=33: .*32 channels of hidden states; legal: 1 to 32"),
        (
            tiny_llama,
            {"hidden": 18},
            r"hidden=18: .*LlamaConfig does not accept it \(.*\); the nearest that it does: 16 and 20",
        ),
        (tiny_bert, {"heads": 1}, "by themselves; legal for this bert: 4, all of them; with hidden=8 heads=1 is possible"),
        (tiny_bert, {"hidden": 16}, "hidden=16 with heads=4: .*both go together; legal: .* such as hidden=16 heads=2"),
        (tiny_bert, {"hidden": 17, "heads": 1}, "legal: hidden = 8 x heads, such as hidden=16 heads=2"),
    ],
)
def test_what_the_model_cannot_be_left_with_is_refused_with_what_it_can(make, plan, said):
    with pytest.raises(CompressionError, match=said):
        choose_parts(make(), ShrinkPlan(**plan))


def test_head_counts_are_held_against_the_hidden_size_that_they_will_stand_beside():
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 4}
    with pytest.raises(CompressionError, match="heads=3: .*legal for this llama: 1, 2, 4"):
        choose_parts(tiny_llama(**sizes), ShrinkPlan(heads=3))
    with pytest.raises(CompressionError, match=r"heads=4: .*legal for this llama with hidden=30: 1, 2, 3 \("):
        choose_parts(tiny_llama(**sizes), ShrinkPlan(heads=4, hidden=30))
    assert shrink(tiny_llama(**sizes), ShrinkPlan(heads=3, hidden=24)).config.num_attention_heads == 3


def test_a_norm_that_no_batch_reaches_says_so():
    model = tiny_llama()
    with pytest.raises(CompressionError, match="no batch reaches a norm of the hidden states"):
        channel_activity(model, {"other": nn.LayerNorm(32)}, [BATCH])
