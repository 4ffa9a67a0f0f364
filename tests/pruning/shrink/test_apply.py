"""The smaller model: what it takes over from the model, and choices that are not this model's."""

import pytest
import torch
from transformers import (
    BertForPreTraining,
    BertForQuestionAnswering,
    BertForTokenClassification,
    BertModel,
    LlamaForSequenceClassification,
)

from hf_compress import CompressionError, ShrinkPlan, choose_parts, shrink
from tests.tiny import tiny_bert, tiny_gpt2, tiny_llama

BATCH = {"input_ids": torch.randint(3, 64, (2, 8), generator=torch.Generator().manual_seed(0))}


def test_units_are_cut_by_hand():
    model = tiny_llama()
    choice = choose_parts(model, ShrinkPlan(feed_forward=3, layers=[1]))
    small = shrink(model, choice)
    places, old, new = list(choice.kept.stacks[0].units[0]), model.model.layers[1], small.model.layers[0]
    assert torch.equal(new.mlp.up_proj.weight, old.mlp.up_proj.weight[places])
    assert torch.equal(new.mlp.gate_proj.weight, old.mlp.gate_proj.weight[places])
    assert torch.equal(new.mlp.down_proj.weight, old.mlp.down_proj.weight[:, places])
    assert torch.equal(new.self_attn.q_proj.weight, old.self_attn.q_proj.weight)
    assert (small.config.intermediate_size, small.config.num_hidden_layers) == (3, 1)
    assert (model.config.intermediate_size, model.config.num_hidden_layers) == (64, 2)


def test_groups_are_cut_by_hand_and_a_heads_size_stays():
    model = tiny_llama()
    choice = choose_parts(model, ShrinkPlan(heads=2))
    small = shrink(model, choice)
    (group,), old, new = choice.kept.stacks[0].groups[0], model.model.layers[0].self_attn, small.model.layers[0].self_attn
    assert torch.equal(new.q_proj.weight, old.q_proj.weight[16 * group : 16 * group + 16])
    assert torch.equal(new.k_proj.weight, old.k_proj.weight[8 * group : 8 * group + 8])
    assert torch.equal(new.v_proj.weight, old.v_proj.weight[8 * group : 8 * group + 8])
    assert torch.equal(new.o_proj.weight, old.o_proj.weight[:, 16 * group : 16 * group + 16])
    config = small.config
    assert (config.num_attention_heads, config.num_key_value_heads, config.head_dim) == (2, 1, 8)


def test_types_modes_frozen_weights_and_settings_are_taken_over():
    model = tiny_llama().bfloat16().train()
    model.model.embed_tokens.requires_grad_(False)
    model.generation_config.max_new_tokens = 7
    model.set_attn_implementation("eager")
    small = shrink(model, ShrinkPlan(feed_forward=0.5, layers=[1]))
    assert {parameter.dtype for parameter in small.parameters()} == {torch.bfloat16}
    assert small.model.rotary_emb.inv_freq.dtype == model.model.rotary_emb.inv_freq.dtype
    frozen = [name for name, parameter in small.named_parameters() if not parameter.requires_grad]
    assert small.training and frozen == ["model.embed_tokens.weight"]
    assert small.generation_config.max_new_tokens == 7 and small.generation_config is not model.generation_config
    assert small.config._attn_implementation == "eager"


def test_tied_weights_stay_tied_and_those_that_are_not_stay_apart():
    small = shrink(tiny_gpt2(), ShrinkPlan(feed_forward=0.5))
    assert small.lm_head.weight is small.transformer.wte.weight
    small = shrink(tiny_llama(), ShrinkPlan(feed_forward=0.5))
    assert small.lm_head.weight is not small.model.embed_tokens.weight


@pytest.mark.parametrize(
    "cls",
    [BertModel, BertForQuestionAnswering, BertForTokenClassification, BertForPreTraining],
    ids=lambda cls: cls.__name__,
)
def test_any_head_of_a_task_goes_along(cls, tmp_path):
    small = shrink(tiny_bert(cls=cls, num_labels=2).eval(), ShrinkPlan(feed_forward=0.5, layers=[1]))
    small.save_pretrained(tmp_path)
    loaded, info = cls.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(info.values())
    assert torch.equal(loaded(**BATCH)[0], small(**BATCH)[0])


def test_the_classifier_of_a_language_model_goes_along():
    model = LlamaForSequenceClassification(tiny_llama().config).eval()
    small = shrink(model, ShrinkPlan(heads=2))
    assert torch.equal(small.score.weight, model.score.weight) and small(**BATCH).logits.shape == (2, 2)


def test_a_model_without_a_part_that_its_config_means_is_refused_with_the_part():
    model = BertModel(tiny_bert().config, add_pooling_layer=False)
    said = r"BertModel as its config says it has pooler\.dense\.weight, and this model was made without it"
    with pytest.raises(CompressionError, match=said):
        shrink(model, choose_parts(model, ShrinkPlan(layers=1)))


def test_a_shrunk_model_can_be_shrunk_again():
    model = tiny_llama(num_hidden_layers=3).eval()
    twice = shrink(shrink(model, ShrinkPlan(layers=[0, 2])), ShrinkPlan(layers=[1], feed_forward=0.5))
    once = shrink(model, ShrinkPlan(layers=[2], feed_forward=0.5))
    assert torch.equal(twice(**BATCH).logits, once(**BATCH).logits)


def test_a_plan_that_keeps_all_gives_a_copy():
    model = tiny_llama().eval()
    small = shrink(model, ShrinkPlan(feed_forward=64, heads=4, layers=2))
    assert torch.equal(small(**BATCH).logits, model(**BATCH).logits)
    assert small.lm_head.weight.data_ptr() != model.lm_head.weight.data_ptr()


def test_a_choice_for_another_model_is_refused():
    choice = choose_parts(tiny_llama(), ShrinkPlan(feed_forward=0.5))
    for other in (tiny_llama(intermediate_size=48), tiny_llama(num_hidden_layers=3), tiny_gpt2()):
        with pytest.raises(
            CompressionError, match="the choice was made for LlamaForCausalLM with 2 layers.*choose its parts"
        ):
            shrink(other, choice)
    assert shrink(tiny_llama(seed=1), choice).config.intermediate_size == 32  # a model of the same counts takes it


def test_what_is_no_plan_and_calibration_for_a_choice_are_refused():
    model = tiny_llama()
    with pytest.raises(CompressionError, match=r"dict given; write shrink\(model, ShrinkPlan\(feed_forward=0.5\)\)"):
        shrink(model, {"feed_forward": 0.5})
    with pytest.raises(CompressionError, match="this choice is made; leave it out"):
        shrink(model, choose_parts(model, ShrinkPlan(feed_forward=0.5)), [BATCH])
