"""Each rule on modules made by hand."""

import pytest
from compressed_tensors.quantization import QuantizationArgs, QuantizationScheme, preset_name_to_scheme

from hf_compress.export.serving import rules
from hf_compress.export.serving.schemes import served_as


def scheme(preset="W4A16", form="pack-quantized", **weights):
    made = preset_name_to_scheme(preset, ["Linear"])
    return made.model_copy(update={"format": form, "weights": made.weights.model_copy(update=weights)})


W4A16, W8A8 = scheme(), scheme("W8A8", "int-quantized")


@pytest.mark.parametrize(
    ("stored", "name"),
    [
        (W4A16, "weights of 4 or 8 bits"),
        (scheme("W8A16"), "weights of 4 or 8 bits"),
        (W8A8, "W8A8 in int8"),
        (scheme("W4A8", "int-quantized"), "W4A8 in int4 and int8"),
        (scheme("FP8_DYNAMIC", "float-quantized"), "W8A8 in float8"),
        (scheme("FP8", "float-quantized"), "W8A8 in float8"),
        (scheme(num_bits=3), None),
        (scheme(symmetric=False), None),
        (scheme("W8A8", "pack-quantized"), None),
        (scheme("W4A16", "int-quantized"), None),
    ],
)
def test_a_stored_scheme_is_the_layer_that_vllm_makes_of_it(stored, name):
    found = served_as(stored)
    assert (found and found.name) == name
    said = list(rules.known_schemes({"a": stored}))
    assert bool(said) == (name is None)


def test_what_vllm_has_no_layer_for_is_described_once():
    (said,) = rules.known_schemes({"a": scheme(num_bits=3), "b": scheme(num_bits=3), "c": W4A16})
    assert said.startswith("vLLM has no layer for pack-quantized int3 weights by group, activations as they are (a, b)")


def test_group_sizes_are_those_of_the_kernels():
    (said,) = rules.group_sizes({"a": scheme(group_size=16), "b": scheme(group_size=64), "c": scheme(strategy="channel")})
    assert said == "groups of 16 (a) have no kernel; set scheme.group_size to 32, 64 or 128"


def test_groups_and_packed_integers_divide_the_inputs():
    shapes = {"a": (64, 200), "b": (64, 256), "c": (64, 100)}
    channel = scheme(strategy="channel", group_size=None)
    said = list(rules.divisible({"a": W4A16, "b": W4A16, "c": channel}, shapes))
    assert said[0].startswith("group_size=128 does not divide the 200 inputs of a")
    assert said[1].startswith("8 integers are packed into one, and c has 100 inputs") and len(said) == 2


def test_what_is_read_as_one_matrix_has_one_scheme():
    layer = [f"l.{name}" for name in ("q_proj", "k_proj", "v_proj", "o_proj")] + ["m.gate_proj", "m.up_proj"]
    assert list(rules.fused(dict.fromkeys(layer, W4A16), layer)) == []
    assert list(rules.fused({"l.o_proj": W4A16}, layer)) == []
    mixed = {**dict.fromkeys(layer, W4A16), "l.k_proj": W8A8}
    (said,) = rules.fused(mixed, layer)
    assert said.startswith("vLLM reads q_proj and k_proj and v_proj of l as one matrix, and they differ (q_proj: pack-")
    (said,) = rules.fused({"m.gate_proj": W4A16}, layer)
    assert "up_proj: dense" in said
    (said,) = rules.fused({"m.gate_proj": W4A16, "m.up_proj": scheme(group_size=32)}, layer)
    assert "group of 128" in said and "group of 32" in said


def test_heads_and_tables_stay_dense():
    (said,) = rules.heads({"lm_head": W4A16, "x": W4A16}, True, ["embed", "lm_head"])
    assert said.startswith("lm_head is quantized, and shares its weight with the embeddings")
    (said,) = rules.heads({"lm_head": W4A16}, False, ["lm_head"])
    assert "read dense by most releases" in said


def test_the_cache_is_float8_by_tensor_and_nothing_is_stored_sparse():
    right = QuantizationArgs(num_bits=8, type="float", strategy="tensor", symmetric=True).model_dump(mode="json")
    assert list(rules.cache({"kv_cache_scheme": right})) == list(rules.cache({})) == list(rules.sparsity({})) == []
    for change in ({"num_bits": 4}, {"type": "int"}, {"strategy": "channel"}, {"symmetric": False}):
        assert len(list(rules.cache({"kv_cache_scheme": {**right, **change}}))) == 1
    (said,) = rules.sparsity({"sparsity_config": {"format": "sparse-24-bitmask"}})
    assert "'sparse-24-bitmask'" in said


def test_shapes_that_older_releases_refuse_are_noted():
    shapes = {"a": (64, 128), "b": (128, 64), "c": (64, 64)}
    (said,) = rules.padded(dict.fromkeys(shapes, W4A16), shapes)
    assert said.startswith("c: sizes are no multiples")
    assert list(rules.padded(dict.fromkeys(shapes, W8A8), shapes)) == []


def test_a_scheme_without_weights_is_no_layer():
    assert served_as(QuantizationScheme(targets=["Linear"])) is None
