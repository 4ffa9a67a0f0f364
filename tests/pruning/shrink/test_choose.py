"""Which parts stay, what is said of it, and what is refused before anything is touched."""

import json

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from torch import nn
from transformers import LlamaConfig, Qwen2Config, Qwen2ForCausalLM

from hf_compress import CompressionError, Quantization, ShrinkPlan, choose_parts, quantize, shrink
from hf_compress.pruning.shrink.choice import ShrinkChoice
from hf_compress.quantization.qat import prepare
from tests.architectures.small import model_without_row
from tests.tiny import tiny_bert, tiny_gpt2, tiny_llama

BATCH = {"input_ids": torch.randint(3, 64, (2, 8), generator=torch.Generator().manual_seed(0))}


def test_units_and_groups_that_are_zero_go_first_each_layer_its_own():
    model = tiny_llama()
    for place, gone in enumerate(((0, 1), (62, 63))):
        model.model.layers[place].mlp.down_proj.weight.data[:, list(gone)] = 0
    model.model.layers[0].self_attn.v_proj.weight.data[:8] = 0  # the first head of values, read by two heads
    model.model.layers[1].self_attn.o_proj.weight.data[:, 16:] = 0  # the two heads of the second group
    (kept,) = choose_parts(model, ShrinkPlan(feed_forward=62, heads=2)).kept.stacks
    assert kept.layers == (0, 1)
    assert kept.units == (tuple(range(2, 64)), tuple(range(62)))
    assert kept.groups == ((1,), (0,))


def test_the_layer_with_the_least_influence_goes():
    model = tiny_llama(num_hidden_layers=3)
    idle = model.model.layers[1]
    idle.self_attn.o_proj.weight.data.zero_()
    idle.mlp.down_proj.weight.data.zero_()
    choice = choose_parts(model, ShrinkPlan(layers=2), [BATCH])
    (kept,) = choice.kept.stacks
    assert kept.layers == (0, 2) and kept.units is kept.groups is None
    small = shrink(model, choice)
    torch.testing.assert_close(small(**BATCH).logits, model(**BATCH).logits)  # the layer wrote nothing
    assert "layer 1 goes (block influence 0.0000)" in choice.describe()


def test_with_batches_what_is_written_on_them_decides_and_without_them_the_weights():
    model = tiny_llama().eval()
    for layer in model.model.layers:
        layer.mlp.gate_proj.weight.data[5] = 0.001  # large for its weights, and hardly ever on
        layer.mlp.up_proj.weight.data[5] = 9.0
    by_weights = choose_parts(model, ShrinkPlan(feed_forward=32, heads=2))
    by_data = choose_parts(model, ShrinkPlan(feed_forward=32, heads=2), iter([BATCH]))
    assert all(5 in units for units in by_weights.kept.stacks[0].units)
    written = {}
    for place, layer in enumerate(model.model.layers):
        for name, module in (("units", layer.mlp.down_proj), ("groups", layer.self_attn.o_proj)):
            module.register_forward_pre_hook(
                lambda _, args, key=(place, name): written.update({key: args[0][0:].flatten(0, 1)})
            )
    model(**BATCH)
    for place, layer in enumerate(model.model.layers):
        rows, down = written[place, "units"], layer.mlp.down_proj.weight
        scores = torch.stack([torch.outer(rows[:, unit], down[:, unit]).norm() for unit in range(64)])
        assert by_data.kept.stacks[0].units[place] == tuple(scores.topk(32).indices.sort().values.tolist())
        rows, out = written[place, "groups"], layer.self_attn.o_proj.weight
        scores = [(rows[:, 16 * group :][:, :16] @ out[:, 16 * group :][:, :16].T).norm() for group in range(2)]
        assert by_data.kept.stacks[0].groups[place] == (int(scores[1] > scores[0]),)
    assert "chosen by the norms of their weights" in by_weights.describe()
    assert "chosen by what they write on the batches" in by_data.describe()


@pytest.mark.parametrize(
    ("batches", "said"), [(BATCH, r"give one batch as \[batch\]"), ([], "no batch"), ([3], "what is none")]
)
def test_what_is_no_batch_is_refused(batches, said):
    with pytest.raises(CompressionError, match=said):
        choose_parts(tiny_llama(), ShrinkPlan(feed_forward=0.5), batches)


def test_what_goes_and_what_it_saves_is_described():
    choice = choose_parts(tiny_llama(), ShrinkPlan(feed_forward=0.5, heads=0.5, layers=[1]))
    head, gone, units, how, *sizes = choice.describe().splitlines()
    assert head == "LlamaForCausalLM with 2 layers, 4 heads in 2 groups, 64 feed-forward units"
    assert gone == "layer 0 goes"
    assert units.startswith("layer 1: 2 of 4 heads go (head ") and "; 32 of 64 units go (unit " in units
    assert how == "chosen by the norms of their weights"
    # By hand: embedding and head 2 x 64 x 32, norm 32, and a layer of 2 x 32 norms, attention and feed-forward part.
    whole, part = 2 * (64 + 2 * 32 * 32 + 2 * 16 * 32 + 3 * 64 * 32), 64 + 2 * 16 * 32 + 2 * 8 * 32 + 3 * 32 * 32
    before, after = 2 * 64 * 32 + 32 + whole, 2 * 64 * 32 + 32 + part
    change = f"{after / before - 1:+.1%}"
    assert sizes[0] == f"parameters: {before:,} -> {after:,} ({change})"
    assert sizes[1] == f"bytes: {4 * before:,} -> {4 * after:,} ({change})"
    assert sizes[2].startswith("MACs of input_ids (1, 8): ")


def test_bytes_are_those_of_the_models_type():
    choice = choose_parts(tiny_llama().bfloat16(), ShrinkPlan(feed_forward=8))
    assert choice.after.parameter_bytes == 2 * choice.after.parameters


@pytest.mark.parametrize(
    ("plan", "said"),
    [
        ({"heads": 3}, r"heads=3: .*4 heads in 2 groups.*legal for this llama: 2, 4 \(whole groups of 2 heads"),
        ({"heads": 8}, "legal for this llama: 2, 4"),
        ({"feed_forward": 65}, "feed_forward=65: .*legal: 1 to 64"),
        ({"layers": 3}, "layers=3: .*legal: 1 to 2"),
        ({"layers": {"encoder": 1}}, r"layers=\{'encoder': 1\}: LlamaForCausalLM has one stack of layers; give one number"),
        ({"layers": [2]}, r"layers=\[2\]: .*legal places: 0 to 1"),
        ({"layers": 1}, "layers=1 says how many layers stay and not which; give calibration"),
    ],
)
def test_what_the_model_cannot_be_left_with_is_refused_with_what_it_can(plan, said):
    with pytest.raises(CompressionError, match=said):
        choose_parts(tiny_llama(), ShrinkPlan(**plan))


def test_head_counts_that_do_not_divide_the_hidden_size_are_refused_where_the_config_refuses_them():
    sizes = {"hidden_size": 48, "num_attention_heads": 6, "num_key_value_heads": 6}
    with pytest.raises(StrictDataclassClassValidationError, match="not a multiple"):
        LlamaConfig(**{**sizes, "num_attention_heads": 5, "num_key_value_heads": 5, "head_dim": 8})
    with pytest.raises(CompressionError, match=r"heads=5: .*legal for this llama: 1, 2, 3, 4, 6 \(whole heads, in numbers"):
        choose_parts(tiny_llama(**sizes), ShrinkPlan(heads=5))
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=64, intermediate_size=64, num_hidden_layers=1, **sizes))
    assert len(choose_parts(model, ShrinkPlan(heads=5)).kept.stacks[0].groups[0]) == 5  # Qwen2's takes any


def test_layers_that_depend_on_their_place_go_from_the_end_alone():
    model = tiny_gpt2(n_layer=3, scale_attn_by_inverse_layer_idx=True)
    with pytest.raises(CompressionError, match=r"with scale_attn_by_inverse_layer_idx .*write layers=\[0, 1\]"):
        choose_parts(model, ShrinkPlan(layers=[0, 2]))
    with pytest.raises(CompressionError, match=r"layers=2: with scale_attn_by_inverse_layer_idx"):
        choose_parts(model, ShrinkPlan(layers=2), [BATCH])
    small = shrink(model, ShrinkPlan(layers=[0, 1]))
    assert small.config.n_layer == 2


def test_each_layer_keeps_its_kind_of_attention():
    config = Qwen2Config(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        use_sliding_window=True,
        sliding_window=3,
        max_window_layers=2,
    )
    model = Qwen2ForCausalLM(config).eval()
    small = shrink(model, ShrinkPlan(layers=[0, 3]))
    assert small.config.layer_types == ["full_attention", "sliding_attention"]
    assert small.model.layers[1].self_attn.sliding_window == 3
    assert model.config.layer_types == ["full_attention"] * 2 + ["sliding_attention"] * 2


def test_a_model_outside_the_table_a_quantized_one_one_with_adapters_and_no_model_are_refused():
    plan = ShrinkPlan(feed_forward=0.5)
    with pytest.raises(CompressionError, match="parts of bloom are is not known"):
        choose_parts(model_without_row(), plan)
    quantized = tiny_llama()
    quantize(quantized, Quantization(scheme="W8A8"))
    with pytest.raises(CompressionError, match="already quantized, so shrinking finds no dense weights"):
        choose_parts(quantized, plan)
    adapted = tiny_llama()
    adapted.peft_config = {}
    with pytest.raises(CompressionError, match="shrinking of a PEFT model is not supported"):
        choose_parts(adapted, plan)
    with pytest.raises(CompressionError, match="a str given where a model is expected"):
        choose_parts("path/or/hub-id", plan)
    with torch.device("meta"):
        absent = tiny_llama()
    with pytest.raises(CompressionError, match=r"embed_tokens.weight has no memory .offloaded"):
        choose_parts(absent, plan)
    with pytest.raises(CompressionError, match=r"a mapping given where a ShrinkPlan is expected"):
        choose_parts(tiny_llama(), {"feed_forward": 0.5})


def test_a_model_with_parts_that_its_class_does_not_build_is_refused():
    model = tiny_bert()
    model.bert.encoder.layer[0].adapter = nn.Linear(32, 32)
    with pytest.raises(CompressionError, match=r"has bert.encoder.layer.0.adapter.weight of shape None, and cutting gives"):
        choose_parts(model, ShrinkPlan(feed_forward=0.5))


def test_a_model_whose_parts_were_replaced_for_training_is_refused():
    model = tiny_llama()
    prepare(model, Quantization(scheme="W8A8"))
    with pytest.raises(CompressionError, match=r"layers.0.self_attn.q_proj is a FakeQuantizedLinear where .* has a Linear"):
        choose_parts(model, ShrinkPlan(feed_forward=0.5))


def test_weights_that_are_not_finite_are_refused():
    model = tiny_llama()
    model.model.layers[1].mlp.up_proj.weight.data[3, 3] = float("nan")
    with pytest.raises(CompressionError, match="layer 1, feed-forward units: the weights hold NaN"):
        choose_parts(model, ShrinkPlan(feed_forward=0.5))


def test_depth_comes_first_and_widths_are_measured_behind_the_layers_that_stay():
    """By hand: the layers go by themselves, and what is left is asked anew."""
    model = tiny_llama(num_hidden_layers=4).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    choice = choose_parts(model, ShrinkPlan(feed_forward=24, heads=2, layers=[1, 3]), [BATCH])
    shallow = shrink(model, ShrinkPlan(layers=[1, 3]))
    (widths,) = choose_parts(shallow, ShrinkPlan(feed_forward=24, heads=2), [BATCH]).kept.stacks
    assert choice.kept.stacks[0].layers == (1, 3)
    assert (choice.kept.stacks[0].units, choice.kept.stacks[0].groups) == (widths.units, widths.groups)
    (whole,) = choose_parts(model, ShrinkPlan(feed_forward=24, heads=2), [BATCH]).kept.stacks
    assert choice.kept.stacks[0].units != (whole.units[1], whole.units[3])
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_a_refusal_behind_a_cut_in_depth_names_the_layer_by_its_place_in_the_model():
    model = tiny_llama(num_hidden_layers=3)
    model.model.layers[2].mlp.down_proj.weight.data[3, 3] = float("inf")
    with pytest.raises(CompressionError, match="layer 2, feed-forward units: the weights hold NaN or infinity"):
        choose_parts(model, ShrinkPlan(feed_forward=0.5, layers=[0, 2]), [BATCH])


def test_a_choice_comes_back_from_plain_data():
    choice = choose_parts(tiny_llama(), ShrinkPlan(feed_forward=8, heads=2, layers=1), [BATCH])
    assert ShrinkChoice.from_plain(json.loads(json.dumps(choice.to_plain()))) == choice
