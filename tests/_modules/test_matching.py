"""Targeting, the (O, I) matrix inside a module, and casting."""

import pytest
import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from hf_compress._errors import CompressionError
from hf_compress._modules.matching import DEFAULT_IGNORE, DEFAULT_TARGETS, match_modules, select_modules
from hf_compress._modules.names import canonical_name
from hf_compress._modules.types import cast_weights, floating_type
from tests.tiny import tiny_bert, tiny_gpt2, tiny_llama, tiny_vit


@pytest.mark.parametrize(
    ("name", "canonical"),
    [
        ("layers.0.q_proj", "layers.0.q_proj"),
        ("module.layers.0.q_proj", "layers.0.q_proj"),
        ("_orig_mod.layers.0.q_proj", "layers.0.q_proj"),
        ("module._orig_mod.layers.0._checkpoint_wrapped_module.q_proj.weight", "layers.0.q_proj.weight"),
        ("_orig_mod.module.layers.0.q_proj", "layers.0.q_proj"),
        ("module.base_model.model.layers.0.q_proj", "layers.0.q_proj"),
        ("encoder.submodule.q_proj", "encoder.submodule.q_proj"),
        ("encoder.module.q_proj", "encoder.module.q_proj"),
    ],
)
def test_wrappers_disappear_from_names_and_nothing_else_does(name, canonical):
    assert canonical_name(name) == canonical


def test_names_are_canonical_inside_a_compiled_model():
    plain, compiled = tiny_llama(), torch.compile(tiny_llama())
    names = list(match_modules(plain, DEFAULT_TARGETS, DEFAULT_IGNORE, "pruning"))
    assert list(match_modules(compiled, DEFAULT_TARGETS, DEFAULT_IGNORE, "pruning")) == names


def test_the_defaults_match_every_linear_of_a_decoder_but_the_head():
    names = list(match_modules(tiny_llama(), DEFAULT_TARGETS, DEFAULT_IGNORE, "pruning"))
    parts = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
    parts += ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
    assert names == [f"model.layers.{layer}.{part}" for layer in range(2) for part in parts]


@pytest.mark.parametrize("build", [tiny_bert, tiny_vit])
def test_the_defaults_leave_classification_heads_alone(build):
    names = match_modules(build(), DEFAULT_TARGETS, DEFAULT_IGNORE, "pruning")
    assert names
    assert not [name for name in names if "classifier" in name]


def test_exact_names_and_patterns_target_and_ignore_wins():
    model = tiny_llama()
    exact = "model.layers.1.mlp.up_proj"
    assert list(match_modules(model, [exact], [], "pruning")) == [exact]
    pattern = r"re:.*layers\.1\..*_proj"
    assert len(match_modules(model, [pattern], [], "pruning")) == 7
    assert exact not in match_modules(model, [pattern], [exact], "pruning")


def test_a_target_that_matches_nothing_is_refused_with_what_there_is():
    with pytest.raises(CompressionError, match=r"pruning\.targets: 'Linaer' matches no module; the model has .*Linear x15"):
        match_modules(tiny_llama(), ["Linear", "Linaer"], [], "pruning")


def test_ignoring_everything_is_refused():
    with pytest.raises(CompressionError, match=r"every module that targets=\['Linear'\] matches is ignored"):
        match_modules(tiny_llama(), ["Linear"], ["re:.*"], "pruning")


@pytest.mark.parametrize("target", ["lm_head", "re:.*head"])
def test_a_tied_weight_is_refused_where_it_was_named(target):
    model = tiny_llama(tie_word_embeddings=True)
    message = (
        r"lm_head cannot be compressed: its weight is tied to model\.embed_tokens, .*; add 'lm_head' to pruning\.ignore"
    )
    with pytest.raises(CompressionError, match=message):
        match_modules(model, ["Linear", target], [], "pruning")
    assert "lm_head" not in match_modules(model, ["Linear", target], ["lm_head"], "pruning")


def test_a_tied_head_is_left_out_and_said_where_only_its_class_was_named():
    found = select_modules(tiny_llama(tie_word_embeddings=True), ["Linear"], [], "pruning")
    assert len(found.modules) == 14 and "lm_head" not in found.modules
    assert found.left_out == {"lm_head": "its weight is tied to model.embed_tokens, so compressing one changes the other"}


def test_two_tied_targets_are_left_out_as_well():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    found = select_modules(model, ["Linear"], [], "pruning")
    assert list(found.modules) == ["2"] and list(found.left_out) == ["0", "1"]


def test_a_model_with_nothing_but_tied_weights_is_refused():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    with pytest.raises(CompressionError, match="0 cannot be compressed: its weight is tied to 1"):
        match_modules(model, ["Linear"], [], "pruning")


def test_an_untied_head_can_be_targeted():
    assert "lm_head" in match_modules(tiny_llama(), ["Linear"], [], "pruning")


COMPUTED = {
    "parametrization": torch.nn.utils.parametrizations.weight_norm,
    "hook": torch.nn.utils.weight_norm,
    "spectral norm": torch.nn.utils.parametrizations.spectral_norm,
}


@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated")
@pytest.mark.parametrize("kind", COMPUTED)
def test_a_computed_weight_is_left_out_where_its_class_matched_and_refused_where_it_was_named(kind):
    model = nn.Sequential(nn.Linear(4, 4), COMPUTED[kind](nn.Linear(4, 4)))
    selection = select_modules(model, ["Linear"], [], "pruning")
    assert list(selection.modules) == ["0"]
    assert list(selection.left_out) == ["1"] and "computed from other parameters" in selection.left_out["1"]
    for named, way_out in (
        (["1"], r"nothing else matches targets=\['1'\], so name other targets: the model has "),
        (["Linear", "re:1"], "add '1' to pruning.ignore"),
    ):
        with pytest.raises(CompressionError, match=f"1 cannot be compressed: its weight is computed.*; {way_out}"):
            select_modules(model, named, [], "pruning")
    assert not select_modules(model, ["Linear"], ["1"], "pruning").left_out


def test_a_model_in_which_nothing_can_be_compressed_is_refused():
    model = nn.Sequential(torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 4)))
    with pytest.raises(CompressionError, match="0 cannot be compressed"):
        match_modules(model, ["Linear"], [], "pruning")


def test_casting_changes_stored_tensors_and_leaves_rotary_frequencies():
    model = tiny_llama()
    before = {name: buffer.clone() for name, buffer in model.named_buffers()}
    assert any("inv_freq" in name for name in before)
    assert cast_weights(model, "bfloat16") is model
    assert {tensor.dtype for tensor in model.state_dict().values()} == {torch.bfloat16}
    assert model.config.dtype == torch.bfloat16
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, before[name]), name


def test_casting_follows_what_loading_makes_of_buffers_that_are_not_stored(tmp_path):
    """Falcon-H1's multipliers are made in the model's type, its rotary frequencies in fp32."""

    class Scaled(PreTrainedModel):
        config_class = PretrainedConfig

        def __init__(self, config):
            super().__init__(config)
            self.linear = nn.Linear(2, 2)
            self.register_buffer("multipliers", torch.ones(2) * 0.3, persistent=False)
            self.register_buffer("frequencies", torch.ones(2, dtype=torch.float32), persistent=False)
            self.post_init()

        def _init_weights(self, module):
            if module is self:
                module.multipliers.fill_(0.3)
                module.frequencies.fill_(1)

    model = Scaled(PretrainedConfig())
    model.save_pretrained(tmp_path)
    loaded = Scaled.from_pretrained(tmp_path, dtype=torch.bfloat16)
    for (name, buffer), other in zip(cast_weights(model, "bfloat16").named_buffers(), loaded.buffers(), strict=True):
        assert buffer.dtype == other.dtype and torch.equal(buffer, other), name


def test_casting_leaves_integers_and_keeps_tied_weights_tied():
    model = tiny_llama(tie_word_embeddings=True)
    model.register_buffer("counter", torch.tensor([3]))
    cast_weights(model, "float16")
    assert model.counter.dtype == torch.int64
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_auto_casts_nothing():
    model = cast_weights(tiny_gpt2(), "auto")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


@pytest.mark.parametrize("dtype", ["int8", "nonsense", "nn", "bf16"])
def test_casting_to_what_is_no_floating_type_is_refused(dtype):
    with pytest.raises(CompressionError, match=f"dtype='{dtype}' is not a floating torch type"):
        cast_weights(tiny_llama(), dtype)


@pytest.mark.parametrize(
    ("dtype", "message"),
    [(torch.bfloat16, "dtype=torch.bfloat16 is a type.*write dtype='bfloat16'"), (None, "dtype=None is not a floating")],
)
def test_a_type_in_place_of_its_name_is_refused_with_the_name(dtype, message):
    with pytest.raises(CompressionError, match=message):
        floating_type(dtype)


def test_eight_bits_are_no_type_to_store_a_model_in():
    with pytest.raises(CompressionError, match="dtype='float8_e4m3fn' is not a floating torch type"):
        floating_type("float8_e4m3fn")


def test_what_is_ignored_altogether_can_be_asked_for_as_the_refusal_says():
    with pytest.raises(CompressionError, match=r"name other targets, or set ignore to \[\]"):
        match_modules(tiny_llama(), ["lm_head"], ["re:.*lm_head"], "pruning")
    assert [*match_modules(tiny_llama(), ["lm_head"], [], "pruning")] == ["lm_head"]
