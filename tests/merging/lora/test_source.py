"""Adapters in a base: every variant against PEFT's own merge, on the names of the checkpoint."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2LMHeadModel, LlamaForCausalLM, ViTForImageClassification

from hf_compress._errors import CompressionError
from hf_compress.checkpoints.source import open_source
from hf_compress.merging.lora.adapter import Adapter
from hf_compress.merging.lora.source import AdaptedSource
from tests import tiny
from tests.merging.adapters import make_adapter, merged_by_peft, save

# PEFT multiplies, scales and adds fp32 in the same order, so Linear weights are equal to the bit. Convolutions go through a
# convolution kernel there, and DoRA's norm sums a transposed matrix in another order: a few units in the last place.
EXACT, ROUNDED = {"rtol": 0, "atol": 0}, {"rtol": 2e-6, "atol": 2e-7}

ATTENTION = ["q_proj", "v_proj"]
CASES = {
    "llama-plain": (tiny.tiny_llama, {"target_modules": ATTENTION}, EXACT),
    "llama-rslora": (tiny.tiny_llama, {"target_modules": ATTENTION, "use_rslora": True}, EXACT),
    "llama-patterns": (
        tiny.tiny_llama,
        {
            "target_modules": [*ATTENTION, "down_proj"],
            "rank_pattern": {"v_proj": 2, r".*\.1\.mlp\.down_proj": 3, "^model.layers.0.self_attn.q_proj": 5},
            "alpha_pattern": {"layers.1.self_attn.v_proj": 9, "roj": 1},
        },
        EXACT,
    ),
    "llama-dora": (tiny.tiny_llama, {"target_modules": ATTENTION, "use_dora": True}, ROUNDED),
    "llama-embedding": (tiny.tiny_llama, {"target_modules": ["embed_tokens", "lm_head"]}, EXACT),
    "llama-embedding-dora": (tiny.tiny_llama, {"target_modules": ["embed_tokens"], "use_dora": True}, ROUNDED),
    "llama-norms-saved": (tiny.tiny_llama, {"target_modules": ATTENTION, "modules_to_save": ["norm", "lm_head"]}, EXACT),
    "llama-tied-saved": (
        lambda: tiny.tiny_llama(tie_word_embeddings=True),
        {"target_modules": ATTENTION, "modules_to_save": ["embed_tokens"], "ensure_weight_tying": True},
        EXACT,
    ),
    "gpt2-conv1d": (tiny.tiny_gpt2, {"target_modules": ["c_attn", "c_fc"]}, EXACT),
    "gpt2-dora": (tiny.tiny_gpt2, {"target_modules": ["c_attn"], "use_dora": True}, ROUNDED),
    "gpt2-lora-bias": (tiny.tiny_gpt2, {"target_modules": ["c_attn"], "lora_bias": True}, EXACT),
    "vit-linear": (tiny.tiny_vit, {"target_modules": ["q_proj", "fc1"], "modules_to_save": ["classifier"]}, EXACT),
    "vit-bias": (tiny.tiny_vit, {"target_modules": ["q_proj"], "lora_bias": True}, EXACT),
    "vit-all-biases": (tiny.tiny_vit, {"target_modules": ["q_proj"], "bias": "all"}, EXACT),
    "vit-all-biases-and-head": (
        tiny.tiny_vit,
        {"target_modules": ["q_proj"], "bias": "all", "modules_to_save": ["classifier"]},
        EXACT,
    ),
    "vit-convolution": (tiny.tiny_vit, {"target_modules": ["projection"], "use_rslora": True}, ROUNDED),
    "vit-convolution-dora": (tiny.tiny_vit, {"target_modules": ["projection"], "use_dora": True}, ROUNDED),
}


@pytest.mark.parametrize("name", CASES)
def test_every_variant_equals_what_peft_merges(name, tmp_path):
    build, config, tolerance = CASES[name]
    model = build()
    base, adapter = save(model, tmp_path / "base"), make_adapter(model, tmp_path / "adapter", **config)
    expected = merged_by_peft((type(model), base), [adapter], tmp_path / "merged")
    source = AdaptedSource(open_source(base, "base"), Adapter(adapter))
    assert set(source.infos) == set(expected.infos)
    differing = 0
    for tensor in source.infos:
        torch.testing.assert_close(source.read(tensor), expected.read(tensor), **tolerance)
        differing += not torch.equal(source.read(tensor), source.source.read(tensor))
    assert differing == len(source.changed()) > 0


def test_two_adapters_can_be_put_on_one_another(tmp_path):
    model = tiny.tiny_llama()
    base = save(model, tmp_path / "base")
    adapters = [make_adapter(model, tmp_path / f"adapter{seed}", seed=seed, target_modules=ATTENTION) for seed in (1, 2)]
    expected = merged_by_peft((LlamaForCausalLM, base), adapters, tmp_path / "merged")
    source = open_source(base, "base")
    for adapter in adapters:
        source = AdaptedSource(source, Adapter(adapter))
    for tensor in source.infos:
        assert torch.equal(source.read(tensor), expected.read(tensor))
    assert len(source.files()) == 3


def test_the_copy_of_the_base_in_a_second_adapter_does_not_undo_the_first(tmp_path):
    name = "model.embed_tokens.weight"
    base = save(tiny.tiny_llama(), tmp_path / "base")
    start = open_source(base, "base")
    adapters = [
        Adapter(make_adapter(tiny.tiny_llama(), tmp_path / f"{seed}", seed=seed, target_modules=["embed_tokens"]))
        for seed in (1, 2)
    ]
    both = AdaptedSource(AdaptedSource(start, adapters[0]), adapters[1])
    changes = [AdaptedSource(start, adapter).read(name) - start.read(name) for adapter in adapters]
    torch.testing.assert_close(both.read(name) - start.read(name), changes[0] + changes[1], rtol=1e-5, atol=1e-6)
    other = Adapter(make_adapter(tiny.tiny_llama(seed=1), tmp_path / "other", target_modules=["embed_tokens"]))
    with pytest.raises(CompressionError, match=f"other carries another {name} than base, which .*1 has changed"):
        AdaptedSource(AdaptedSource(start, adapters[0]), other)


def test_a_half_precision_base_is_rounded_once(tmp_path):
    model = tiny.tiny_llama().to(torch.bfloat16)
    base = save(model, tmp_path / "base")
    adapter = make_adapter(model, tmp_path / "adapter", dtype=torch.bfloat16, target_modules=ATTENTION)
    expected = merged_by_peft((LlamaForCausalLM, base), [adapter], tmp_path / "merged")
    source = AdaptedSource(open_source(base, "base"), Adapter(adapter))
    for tensor in source.infos:
        assert source.read(tensor).dtype == torch.bfloat16
        # PEFT loads bf16 factors as fp32, and adds fp32 to bf16 with one rounding, too.
        assert torch.equal(source.read(tensor), expected.read(tensor))


def test_a_base_without_its_prefix_or_class_is_found_as_well(tmp_path):
    model = tiny.tiny_gpt2()
    base, adapter = save(model, tmp_path / "base"), make_adapter(model, tmp_path / "adapter", target_modules=["c_attn"])
    wanted = AdaptedSource(open_source(base, "base"), Adapter(adapter)).read("transformer.h.0.attn.c_attn.weight")
    weights = load_file(base / "model.safetensors")
    save_file({name.removeprefix("transformer."): tensor for name, tensor in weights.items()}, base / "model.safetensors")
    bare = AdaptedSource(open_source(base, "base"), Adapter(adapter))  # as the original GPT-2 on the Hub is stored
    assert torch.equal(bare.read("h.0.attn.c_attn.weight"), wanted)
    save_file(weights, base / "model.safetensors")
    (base / "config.json").write_text(json.dumps({"architectures": ["SomebodysModel"]}))
    unknown = AdaptedSource(open_source(base, "base"), Adapter(adapter))
    assert torch.equal(unknown.read("transformer.h.0.attn.c_attn.weight"), wanted)


def test_module_names_of_an_older_release_are_understood(tmp_path):
    model = tiny.tiny_vit()
    base, adapter = save(model, tmp_path / "base"), make_adapter(model, tmp_path / "adapter", target_modules=["q_proj"])
    tensor = "vit.encoder.layer.1.attention.attention.query.weight"
    wanted = AdaptedSource(open_source(base, "base"), Adapter(adapter)).read(tensor)
    weights = load_file(adapter / "adapter_model.safetensors")
    old = {name.replace("layers.", "encoder.layer.").replace("q_proj", "attention.query"): t for name, t in weights.items()}
    save_file(old, adapter / "adapter_model.safetensors")
    assert torch.equal(AdaptedSource(open_source(base, "base"), Adapter(adapter)).read(tensor), wanted)


def pruned_pair(folder):
    model = tiny.tiny_llama()
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight[torch.rand(module.weight.shape, generator=torch.Generator().manual_seed(1)) < 0.5] = 0
    return save(model, folder / "base"), make_adapter(model, folder / "adapter", target_modules=ATTENTION)


def test_a_pruned_layer_becomes_dense_unless_its_zeros_are_kept(tmp_path):
    base, adapter = pruned_pair(tmp_path)
    tensor = "model.layers.0.self_attn.q_proj.weight"
    dense = AdaptedSource(open_source(base, "base"), Adapter(adapter))
    zero = dense.source.read(tensor) == 0
    assert (dense.read(tensor) == 0).sum() == 0
    kept = AdaptedSource(open_source(base, "base"), Adapter(adapter), keep_zeros=True)
    assert torch.equal(kept.read(tensor), dense.read(tensor).masked_fill(zero, 0))
    for source in (dense, kept):
        source.read(tensor)  # read twice, counted once
        count = source.zeros()
        assert (count.elements, count.zeros, count.lost) == (zero.numel(), int(zero.sum()), int(zero.sum()))


def test_reading_is_the_formula(tmp_path):
    """W = [[1, 0], [0, 1]], A = [[1, 2]], B = [[3], [4]], alpha 2 and rank 1: W + 2 B A = [[7, 12], [8, 17]]."""
    (tmp_path / "base").mkdir()
    save_file({"x.weight": torch.eye(2)}, tmp_path / "base" / "model.safetensors")
    write(
        tmp_path / "adapter",
        {"x.lora_A.weight": torch.tensor([[1.0, 2.0]]), "x.lora_B.weight": torch.tensor([[3.0], [4.0]])},
        r=1,
        lora_alpha=2,
    )
    source = AdaptedSource(open_source(tmp_path / "base", "base"), Adapter(tmp_path / "adapter"))
    assert source.read("x.weight").tolist() == [[7, 12], [8, 17]]


def write(folder, tensors, **config):
    folder.mkdir()
    save_file(
        {f"base_model.model.{name}": tensor for name, tensor in tensors.items()}, folder / "adapter_model.safetensors"
    )
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 4, **config}))
    return folder


def pair(inputs, outputs):
    return {"lora_A.weight": torch.ones(4, inputs), "lora_B.weight": torch.ones(outputs, 4)}


@pytest.mark.parametrize(
    ("module", "factors", "message"),
    [
        ("model.layers.9.self_attn.q_proj", pair(32, 32), r"model.layers.9.self_attn.q_proj.weight has no tensor in base"),
        ("model.layers.0.self_attn.q_proj", pair(16, 32), r"is \[32, 16\], and model.*q_proj.weight in base is \[32, 32\]"),
        ("model.layers.0.self_attn.q_proj", {**pair(32, 32), "lora_B.bias": torch.ones(32)}, r"q_proj.bias has no tensor"),
        ("score", {"weight": torch.ones(2, 32)}, r"score.weight has no tensor in base.*another head"),
    ],
)
def test_what_has_no_place_in_the_base_is_refused(module, factors, message, tmp_path):
    base = save(tiny.tiny_llama(), tmp_path / "base")
    adapter = write(tmp_path / "adapter", {f"{module}.{name}": tensor for name, tensor in factors.items()})
    with pytest.raises(CompressionError, match=message):
        AdaptedSource(open_source(base, "base"), Adapter(adapter))


def test_a_result_that_the_stored_type_cannot_hold_is_refused(tmp_path):
    name = "model.layers.0.self_attn.q_proj"
    base = save(tiny.tiny_llama().half(), tmp_path / "base")
    huge = write(tmp_path / "adapter", {f"{name}.{role}": 1e3 * tensor for role, tensor in pair(32, 32).items()})
    source = AdaptedSource(open_source(base, "base"), Adapter(huge))
    with pytest.raises(CompressionError, match=f"{name}.weight of base with .*adapter holds NaN or infinity in float16"):
        source.read(f"{name}.weight")


def test_an_adapter_on_a_tied_weight_changes_one_of_the_two(tmp_path):
    model = tiny.tiny_llama(tie_word_embeddings=True)
    base = open_source(save(model, tmp_path / "base"), "base")
    adapter = make_adapter(model, tmp_path / "adapter", target_modules=["embed_tokens"])
    source = AdaptedSource(base, Adapter(adapter))
    assert source.untied == ("lm_head.weight",) and not source.config["tie_word_embeddings"]
    assert torch.equal(source.read("lm_head.weight"), base.read("model.embed_tokens.weight"))
    assert source.changed() == ["model.embed_tokens.weight"]


def test_the_base_classes_of_the_cases_are_the_ones_meant():
    assert {type(build()) for build, _, _ in CASES.values()} == {
        LlamaForCausalLM,
        GPT2LMHeadModel,
        ViTForImageClassification,
    }
