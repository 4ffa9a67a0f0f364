"""Folders as this library writes them, and spoiled ones."""

import json

import pytest

from hf_compress import Quantization, quantize, save_compressed, save_dense
from hf_compress._modules.types import cast_weights
from hf_compress.export.serving.check import check_serving
from hf_compress.quantization.schemes.presets import W4A16
from tests.tiny import tiny_llama


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    def write(name, scheme):
        model = cast_weights(tiny_llama(hidden_size=128, intermediate_size=256), "bfloat16")
        quantize(model, Quantization(scheme=scheme))
        return save_compressed(model, tmp_path_factory.mktemp("serving") / name)

    return write


@pytest.mark.parametrize(
    ("scheme", "kind"),
    [
        ("W4A16", "14 layers of weights of 4 or 8 bits"),
        ("W8A8", "14 layers of W8A8 in int8"),
        ("W4A8", "14 layers of W4A8 in int4 and int8"),
        ("FP8_DYNAMIC", "14 layers of W8A8 in float8"),
    ],
)
def test_what_this_library_writes_passes(written, scheme, kind):
    found = check_serving(written(scheme, scheme))
    assert (found.kind, found.problems) == (kind, ())
    assert "whether this release of vLLM has LlamaForCausalLM is not known here" in found.notes[0]


def test_a_float8_cache_is_no_obstacle(written):
    folder = written("cache", "W8A8")
    config = json.loads((folder / "config.json").read_text())
    cache = {"num_bits": 8, "type": "float", "strategy": "tensor", "symmetric": True}
    config["quantization_config"]["kv_cache_scheme"] = cache
    (folder / "config.json").write_text(json.dumps(config))
    assert check_serving(folder).problems == ()


def test_small_groups_are_refused_and_the_command_says_so_with_exit_code_2(written, call):
    folder = written("small", W4A16(group_size=16))
    code, _, complaints = call("check-serving", folder)
    assert code == 2 and len(complaints) == 1
    assert "groups of 16" in complaints[0] and "set scheme.group_size to 32, 64 or 128" in complaints[0]


def test_a_dense_folder_passes_with_a_note_on_its_type(tmp_path, call):
    save_dense(tiny_llama(), tmp_path / "dense")
    code, out, complaints = call("check-serving", tmp_path / "dense")
    assert (code, complaints) == (0, []) and "nothing speaks against" in out and "--dtype float32" in out


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"quant_method": "awq"}, "quantized with 'awq'"),
        ({"sparsity_config": {"format": "sparse-bitmask"}}, "sparsity_config has the format"),
        ({"format": "mxfp9", "config_groups": {"a": {"targets": ["Linear"]}}}, "format 'mxfp9' are not known here"),
        ({"config_groups": {}}, "no group of quantization_config says how"),
    ],
)
def test_a_config_that_vllm_does_not_take_is_named(written, change, says):
    folder = written("spoiled", "W8A8")
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] |= change
    (folder / "config.json").write_text(json.dumps(config))
    found = check_serving(folder)
    assert len(found.problems) == 1 and says in found.problems[0]
