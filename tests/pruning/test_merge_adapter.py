"""The base beneath LoRA adapters is pruned, and stays so when they are merged."""

import math

import pytest
import torch
from peft import IA3Config, LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

from hf_compress import (
    CompressionError,
    Constant,
    Pruning,
    SparseGPT,
    Taylor,
    Wanda,
    merge_and_keep_zeros,
    prune,
    save_dense,
)
from hf_compress._modules.adapters import base_modules
from tests.tiny import tiny_gpt2, tiny_llama

pytestmark = pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft asks for it


def wrapped(model=None, **settings):
    defaults = {"r": 2, "target_modules": ["q_proj", "up_proj"], "init_lora_weights": False}
    torch.manual_seed(1)
    return get_peft_model(tiny_llama(seed=0) if model is None else model, LoraConfig(**{**defaults, **settings})).eval()


def half(**changes):
    return Pruning(schedule=Constant(final=0.5), **changes)


def batches():
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(3, 60, (4, 12), generator=generator)
    return [{"input_ids": ids, "labels": ids}]


@pytest.mark.parametrize("criterion", [Pruning().criterion, Wanda(), Taylor()], ids=lambda one: one.name)
def test_behind_an_adapter_that_changes_nothing_the_base_is_pruned_as_without(criterion):
    plain, model = tiny_llama(seed=0), wrapped(init_lora_weights=True)
    adapter = {name: one.clone() for name, one in model.state_dict().items() if "lora_" in name}
    expected, found = (prune(one, half(criterion=criterion), batches()) for one in (plain, model))
    assert list(expected) == list(found)
    assert all(torch.equal(expected[name], mask) for name, mask in found.items())
    modules = base_modules(model)
    assert all(torch.equal(plain.get_submodule(name).weight, modules[name].weight) for name in found)
    assert all(torch.equal(one, model.state_dict()[name]) for name, one in adapter.items())


def test_statistics_are_those_of_inputs_with_the_adapter():
    model, merged = wrapped(), wrapped().merge_and_unload()
    base = tiny_llama(seed=0)
    late = "model.layers.1.self_attn.k_proj"  # has no factors and reads what those before it gave
    pruning = half(criterion=Wanda(), targets=[late])
    found, expected, without = (prune(one, pruning, batches())[late] for one in (model, merged, base))
    assert torch.equal(found, expected)
    assert not torch.equal(found, without)


def test_names_to_target_and_ignore_are_those_of_the_base():
    found = prune(wrapped(), half(targets=["re:.*q_proj$", "re:.*k_proj$"], ignore=["model.layers.0.self_attn.q_proj"]))
    assert sorted(found) == sorted(
        ["model.layers.0.self_attn.k_proj", "model.layers.1.self_attn.k_proj", "model.layers.1.self_attn.q_proj"]
    )


@pytest.mark.parametrize("settings", [{}, {"use_dora": True}, {"r": 3, "use_rslora": True}], ids=["lora", "dora", "rslora"])
def test_the_merged_model_is_pefts_with_the_zeros_of_the_base(settings, tmp_path):
    model, twin = wrapped(**settings), wrapped(**settings)
    masks = prune(model, half())
    prune(twin, half())
    bases = {name: module.weight.clone() for name, module in base_modules(twin).items() if name in masks}
    theirs = twin.merge_and_unload()
    found = merge_and_keep_zeros(model)
    gone = whole = 0.0
    for name, keep in masks.items():
        weight, dense = found.model.get_submodule(name).weight, theirs.get_submodule(name).weight
        assert torch.equal(weight, dense * keep)
        change = dense - bases[name]
        gone, whole = gone + float((change * ~keep).square().sum()), whole + float(change.square().sum())
    assert found.lost_norm == pytest.approx(math.sqrt(gone / whole), rel=1e-5)  # fp32 sums in another order
    assert 0 < found.lost_norm < 1
    assert len(found.lost_by_layer) == 4
    assert f"{100 * found.lost_norm:.1f} %" in found.summary()
    save_dense(found.model, tmp_path / "merged")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "merged").eval()
    with torch.no_grad():
        assert torch.equal(loaded(**batches()[0]).logits, found.model.eval()(**batches()[0]).logits)


def test_matrices_that_lie_the_other_way_round_keep_their_zeros():
    model = wrapped(tiny_gpt2(seed=0), target_modules=["c_attn"], fan_in_fan_out=True)
    masks = prune(model, half(targets=["re:.*c_attn$"]))
    merged = merge_and_keep_zeros(model).model
    for name, keep in masks.items():
        weight = merged.get_submodule(name).weight.T
        assert bool((weight[~keep] == 0).all()) and bool((weight[keep] != 0).all())


def test_what_the_adapter_saves_whole_is_left_out_and_merged_as_it_was_trained():
    model = wrapped(target_modules=["q_proj"], modules_to_save=["down_proj"])
    masks = prune(model, half())
    assert not any("down_proj" in name for name in masks)
    copy = model.base_model.model.model.layers[0].mlp.down_proj.modules_to_save["default"].weight
    assert torch.equal(merge_and_keep_zeros(model).model.model.layers[0].mlp.down_proj.weight, copy)
    with pytest.raises(CompressionError, match="down_proj cannot be compressed: the adapter holds a trained copy"):
        prune(wrapped(target_modules=["q_proj"], modules_to_save=["down_proj"]), half(targets=["re:.*down_proj$"]))


def merged_for_now():
    model = wrapped()
    model.merge_adapter()
    return model


def two_adapters():
    model = wrapped()
    model.add_adapter("other", LoraConfig(r=2, target_modules=["q_proj"]))
    return model


def added_by_transformers():
    model = tiny_llama(seed=0)
    model.add_adapter(LoraConfig(r=2, target_modules=["q_proj"]))
    return model


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (merged_for_now, "merged into .*take it out first"),
        (two_adapters, "only \\['default'\\] are active"),
        (added_by_transformers, "this is one that transformers added"),
        (
            lambda: get_peft_model(
                tiny_llama(), IA3Config(target_modules=["q_proj", "down_proj"], feedforward_modules=["down_proj"])
            ),
            "knows LoRA .* and this is IA3",
        ),
    ],
    ids=["merged", "two", "added", "ia3"],
)
def test_adapters_that_could_not_be_merged_afterwards_are_refused_before(make, message):
    model = make()
    before = {name: one.clone() for name, one in model.state_dict().items()}
    for act in (lambda: prune(model, half()), lambda: merge_and_keep_zeros(model)):
        with pytest.raises(CompressionError, match=message):
            act()
    assert all(torch.equal(one, model.state_dict()[name]) for name, one in before.items())


def test_what_goes_block_by_block_is_refused():
    with pytest.raises(CompressionError, match="block by block.*before it is wrapped"):
        prune(wrapped(), half(), batches(), solver=SparseGPT())


@pytest.mark.filterwarnings("ignore:Model has `tie_word_embeddings=True`:UserWarning")  # it is what is refused
def test_a_weight_that_two_modules_hold_is_not_merged():
    model = wrapped(tiny_llama(seed=0, tie_word_embeddings=True), target_modules=["embed_tokens"])
    with pytest.raises(CompressionError, match="hold one weight.*keep_zeros"):
        merge_and_keep_zeros(model)


def test_a_model_without_adapters_has_nothing_to_merge():
    with pytest.raises(CompressionError, match="no adapters to merge"):
        merge_and_keep_zeros(tiny_llama())
