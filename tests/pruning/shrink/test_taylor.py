"""How the loss would change without a part: against gates, and what is refused."""

import pytest
import torch

from hf_compress import CompressionError, ShrinkPlan, choose_parts, shrink
from hf_compress.pruning.shrink.taylor import loss_change
from tests.tiny import tiny_bert, tiny_gpt2, tiny_llama

IDS = torch.randint(3, 64, (4, 8), generator=torch.Generator().manual_seed(0))
BATCHES = [{"input_ids": ids, "labels": ids} for ids in IDS.split(2)]


def by_gates(model, module, batches, groups, output):
    """The slow reference: the gradient at a gate of 1 before each part's column, or behind each channel of a norm."""
    width = module.weight.shape[0] if output or not hasattr(module, "in_features") else module.in_features
    total = torch.zeros(groups)
    for batch in batches:
        gates = torch.ones(groups, requires_grad=True)
        wide = gates.repeat_interleave(width // groups)
        hook = (
            module.register_forward_hook(lambda _, args, gave, wide=wide: gave * wide)
            if output
            else module.register_forward_pre_hook(lambda _, args, wide=wide: (args[0] * wide,))
        )
        model(**batch).loss.backward(inputs=[gates])
        hook.remove()
        total += gates.grad.square()
    return total / len(batches)


@pytest.mark.parametrize("groups", [64, 2])
def test_it_is_the_square_of_the_gradient_at_a_gate_before_the_column(groups):
    model = tiny_llama().eval()
    module = model.model.layers[0].mlp.down_proj
    module.weight.requires_grad_(False)
    found = loss_change(model, {"down": module}, BATCHES, groups)["down"]
    torch.testing.assert_close(found, by_gates(model, module, BATCHES, groups, False), rtol=1e-4, atol=1e-12)
    assert not module.weight.requires_grad and all(parameter.grad is None for parameter in model.parameters())


def test_of_a_layer_that_is_stored_the_other_way_round_it_is_the_same():
    model = tiny_gpt2().eval()
    module = model.transformer.h[0].mlp.c_proj
    found = loss_change(model, {"down": module}, BATCHES)["down"]
    torch.testing.assert_close(found, by_gates(model, module, BATCHES, len(found), False), rtol=1e-4, atol=1e-12)


def test_of_a_norm_it_is_that_of_a_gate_behind_each_channel():
    model = tiny_gpt2().eval()
    norm = model.transformer.h[0].ln_1
    torch.nn.init.normal_(norm.bias)
    found = loss_change(model, {"norm": norm}, BATCHES)["norm"]
    torch.testing.assert_close(found, by_gates(model, norm, BATCHES, len(found), True), rtol=1e-4, atol=1e-12)


def test_units_heads_and_channels_are_chosen_by_it():
    model = tiny_llama().eval()
    choice = choose_parts(model, ShrinkPlan(feed_forward=16, heads=2, hidden=16, importance="taylor"), BATCHES)
    layer = model.model.layers[1]
    units = loss_change(model, {"one": layer.mlp.down_proj}, BATCHES)["one"].topk(16).indices.sort().values
    group = loss_change(model, {"one": layer.self_attn.o_proj}, BATCHES, 2)["one"].argmax()
    norms = {name: one for name, one in model.named_modules() if name.endswith("norm")}
    channels = sum(loss_change(model, norms, BATCHES).values()).topk(16).indices.sort().values
    kept = choice.kept
    assert kept.stacks[0].units[1] == tuple(units.tolist()) and kept.stacks[0].groups[1] == (int(group),)
    assert kept.channels == tuple(channels.tolist())
    assert choice.describe().count("how the loss of the batches would change without them, to first order") == 2
    assert shrink(model, choice).config.hidden_size == 16


def test_weights_can_be_asked_for_beside_batches():
    model = tiny_llama().eval()
    asked = {"feed_forward": 16, "heads": 2, "hidden": 16}
    by_weights = choose_parts(model, ShrinkPlan(**asked, importance="weights"), BATCHES)
    assert by_weights.kept == choose_parts(model, ShrinkPlan(**asked)).kept


@pytest.mark.parametrize(
    ("batches", "importance", "said"),
    [
        ([{"input_ids": IDS}], "taylor", "batch 0 gives LlamaForCausalLM none; add labels to the batches"),
        ([{"input_ids": IDS, "labels": torch.full_like(IDS, -100)}], "taylor", "the loss of batch 0 is nan"),
        (None, "taylor", "importance='taylor' is measured on calibration, and there is none"),
        (None, "activations", "importance='activations' is measured on calibration"),
    ],
)
def test_batches_without_a_loss_and_no_batches_are_refused(batches, importance, said):
    with pytest.raises(CompressionError, match=said):
        choose_parts(tiny_llama(), ShrinkPlan(feed_forward=0.5, importance=importance), batches)


def test_a_classifiers_labels_are_its_own():
    batch = {"input_ids": IDS, "labels": torch.tensor([0, 1, 2, 0])}
    assert shrink(tiny_bert(), ShrinkPlan(feed_forward=0.5, importance="taylor"), [batch]).config.intermediate_size == 32
