"""A folder that does not hold the model is refused by the name of what is wrong in it."""

import copy
import json
import logging
import random
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional
from transformers import MixtralConfig, MixtralForCausalLM, PretrainedConfig, PreTrainedModel

from hf_compress import W4A16, CompressionError, Quantization, quantize, save_compressed
from hf_compress._modules.types import cast_weights
from hf_compress.checkpoints.load_back import compare_loaded, load_back, load_fresh, meant_tensors
from hf_compress.checkpoints.outputs import compare_outputs
from hf_compress.quantization.scheme import Scheme
from hf_compress.quantization.schemes.presets import W8A16
from tests.tiny import tiny_bert, tiny_gpt2, tiny_llama, tiny_t5, tiny_vit


def tiny_mixtral():
    torch.manual_seed(0)
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    return MixtralForCausalLM(MixtralConfig(**sizes, num_attention_heads=4, num_key_value_heads=2, num_local_experts=4))


MODELS = {
    "llama-int4": lambda: quantized(tiny_llama(), W4A16(group_size=16)),
    "llama-tied-int8-bf16": lambda: quantized(cast_weights(tiny_llama(tie_word_embeddings=True), "bfloat16"), "W8A8"),
    "bert-fp8": lambda: quantized(tiny_bert(), "FP8_DYNAMIC"),
    "vit-int8-packed": lambda: quantized(tiny_vit(), W8A16(group_size=16)),  # named otherwise on disk
    "t5-int8": lambda: quantized(tiny_t5(), "W8A8"),
    "gpt2-dense": tiny_gpt2,
    "mixtral-dense": tiny_mixtral,  # its experts are split on disk
}


def quantized(model, scheme):
    quantize(model, Quantization(scheme=scheme))
    return model


@pytest.fixture(scope="module", params=MODELS)
def written(request, tmp_path_factory):
    """A model, and the folder that holds it."""
    folder = tmp_path_factory.mktemp(request.param)
    model = MODELS[request.param]().eval()
    model.save_pretrained(folder)
    return model, folder


# Mutations: each changes one thing in a folder and returns the names of which one must stand in the refusal.


def change_value(tensors, config, draw):
    """The last bit of one number of a tensor: the smallest change there is."""
    name = draw.choice(sorted(tensors))
    tensors[name] = flip(tensors[name], draw)
    return [name]


def change_scale(tensors, config, draw):
    scales = [name for name in sorted(tensors) if name.endswith("weight_scale")] or sorted(tensors)
    name = draw.choice(scales)
    tensors[name] = flip(tensors[name], draw)
    return [name]


def flip_code(tensors, config, draw):
    codes = [name for name, tensor in sorted(tensors.items()) if not tensor.dtype.is_floating_point] or sorted(tensors)
    name = draw.choice(codes)
    tensors[name] = flip(tensors[name], draw, bit=draw.randrange(8))
    return [name]


def drop(tensors, config, draw):
    name = draw.choice(sorted(tensors))
    del tensors[name]
    return [name]


def rename(tensors, config, draw):
    name = draw.choice(sorted(tensors))
    other = draw.choice([f"{name}_2", f"module.{name}", name.replace(".", "_", 1), name[:-1]])
    tensors[other] = tensors.pop(name)
    return [name, other]


def swap(tensors, config, draw):
    """Two tensors of one shape change places."""
    pairs = [
        (one, other)
        for one in sorted(tensors)
        for other in sorted(tensors)
        if one < other
        and tensors[one].shape == tensors[other].shape
        and tensors[one].dtype == tensors[other].dtype
        and not torch.equal(tensors[one].view(torch.uint8), tensors[other].view(torch.uint8))
    ]
    one, other = draw.choice(pairs)
    tensors[one], tensors[other] = tensors[other], tensors[one]
    return [one, other]


def reshape(tensors, config, draw):
    name = draw.choice([name for name in sorted(tensors) if tensors[name].numel() > 1])
    tensor = tensors[name]
    other = tensor.t().contiguous() if tensor.dim() == 2 and tensor.shape[0] != tensor.shape[1] else tensor[:-1].clone()
    tensors[name] = tensor.reshape(1, *tensor.shape) if draw.random() < 0.3 else other
    return [name]


def retype(tensors, config, draw):
    """Another type, in which most values are the same."""
    name = draw.choice(sorted(tensors))
    wide = {torch.float32: torch.float64, torch.bfloat16: torch.float32, torch.int8: torch.int16, torch.int32: torch.int64}
    tensors[name] = tensors[name].to(wide.get(tensors[name].dtype, torch.float16))
    return [name]


def add(tensors, config, draw):
    name = f"{draw.choice(sorted(tensors)).rpartition('.')[0]}.extra"
    tensors[name] = torch.zeros(3)
    return [name]


def change_scheme(tensors, config, draw):
    settings = config.get("quantization_config")
    if settings is None:
        return change_config(tensors, config, draw)
    group = settings["config_groups"]["group_0"]
    key, value = draw.choice(
        [("num_bits", 3), ("group_size", 8), ("symmetric", False), ("strategy", "tensor"), ("type", "x")]
    )
    if draw.random() < 0.3:
        group["input_activations"] = None if group["input_activations"] else {"num_bits": 8, "dynamic": True}
        return ["input_activations"]
    group["weights"][key] = value
    return [key]


def change_ignore(tensors, config, draw):
    settings = config.get("quantization_config")
    if settings is None:
        return change_config(tensors, config, draw)
    settings["ignore"] = [] if draw.random() < 0.5 and settings["ignore"] else [*settings["ignore"], "re:.*q_proj"]
    return ["ignore"]


def change_config(tensors, config, draw):
    key = draw.choice([key for key in sorted(config) if key != "quantization_config"])
    if draw.random() < 0.5:
        del config[key]
    else:
        config[key] = "something else"
    return [key]


MUTATIONS = (change_value, change_scale, flip_code, drop, rename, swap, reshape, retype, add, change_scheme, change_ignore)
MUTATIONS += (change_config,)


def flip(tensor, draw, bit=0):
    """One bit of one number."""
    flat = tensor.contiguous().reshape(-1).clone()
    numbers = flat.view(torch.uint8)
    place = draw.randrange(flat.numel()) * flat.element_size()
    numbers[place] ^= 1 << bit
    return flat.reshape(tensor.shape)


def mutate(folder, mutation, draw):
    file = folder / "model.safetensors"
    tensors, config = load_file(file), json.loads((folder / "config.json").read_text())
    names = mutation(tensors, config, draw)
    save_file(tensors, file, metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(config))
    return names


@pytest.mark.parametrize("part", range(15))
def test_every_random_change_of_a_folder_is_caught_by_name(part, written, tmp_path):
    """15 for each of 7 models, 105 in all, every kind at least once for each model."""
    model, folder = written
    draw = random.Random(f"{folder.name.rstrip('0123456789')} {part}")
    mutation = MUTATIONS[part % len(MUTATIONS)]
    shutil.copytree(folder, tmp_path / "out")
    names = mutate(tmp_path / "out", mutation, draw)
    with pytest.raises(CompressionError) as error:
        load_back(model, tmp_path / "out")
    assert any(name in str(error.value) for name in names), (names, str(error.value))


def test_an_unchanged_folder_is_what_the_model_is(written, caplog):
    model, folder = written
    with caplog.at_level(logging.INFO, "hf_compress.checkpoints.load_back"):
        sentence = load_back(model, folder)
    assert sentence == caplog.records[-1].message
    assert "every tensor as written; " in sentence and "logits" in sentence and "equal on a batch" in sentence


@pytest.mark.parametrize("mutation", [change_value, change_scale, flip_code, drop, rename, swap, reshape])
def test_loading_catches_the_change_by_itself(mutation, written, tmp_path):
    """What a file says may be right and what a loader makes of it wrong, so the second look is as sharp as the first."""
    model, folder = written
    shutil.copytree(folder, tmp_path / "out")
    names = mutate(tmp_path / "out", mutation, random.Random(0))
    with pytest.raises(CompressionError) as error:
        compare_loaded(load_fresh(model, tmp_path / "out", tmp_path), meant_tensors(model), tmp_path)
    if not folder.name.startswith(("vit", "mixtral")):  # whose names in memory are others
        assert any(name in str(error.value) for name in names), (names, str(error.value))


def test_weights_that_loading_would_make_up_are_refused(tmp_path):
    model = tiny_mixtral()
    model.save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    save_file({name: tensor for name, tensor in tensors.items() if ".experts." not in name}, tmp_path / "model.safetensors")
    with pytest.raises(CompressionError, match=r"experts\.down_proj, .*\.experts\.gate_up_proj is missing in the files"):
        load_fresh(model, tmp_path, tmp_path)


@pytest.mark.parametrize("cut", [3, -3])
def test_a_file_that_is_cut_off_is_refused(cut, written, tmp_path):
    model, folder = written
    shutil.copytree(folder, tmp_path / "out")
    file = tmp_path / "out" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:cut])
    with pytest.raises(CompressionError, match="model.safetensors is truncated"):
        load_back(model, tmp_path / "out")


def test_a_config_that_is_no_json_is_refused(tmp_path):
    model = tiny_llama()
    model.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(CompressionError, match=r"config\.json cannot be read"):
        load_back(model, tmp_path)


class ReadsItsWeight(PreTrainedModel):
    """A model that uses a weight without calling the module: no scheme reaches it."""

    config_class = PretrainedConfig
    main_input_name = "x"
    _tied_weights_keys = None

    def __init__(self, config):
        super().__init__(config)
        self.inner = nn.Linear(16, 16, bias=False)
        self.post_init()

    def _init_weights(self, module):
        pass

    def forward(self, x):
        return {"logits": functional.linear(x, self.inner.weight)}


def test_outputs_that_differ_are_refused_with_their_distance(tmp_path):
    torch.manual_seed(0)
    model = ReadsItsWeight(PretrainedConfig())
    nn.init.normal_(model.inner.weight)
    original = copy.deepcopy(model)
    quantize(model, Quantization(scheme="W8A8"))
    model.save_pretrained(tmp_path)
    example = {"x": torch.randn(2, 16)}
    with pytest.raises(
        CompressionError, match=r"logits of the loaded .* differ .* by 0\.0\d+ .* though every tensor is the same"
    ):
        load_back(model, tmp_path, example)
    # The dense model computes with what it stores.
    original.save_pretrained(tmp_path / "dense")
    assert "logits equal on a batch (x [2, 16])" in load_back(original, tmp_path / "dense", example)


def test_a_model_without_a_probe_says_that_outputs_were_not_compared(tmp_path):
    model = ReadsItsWeight(PretrainedConfig())
    model.save_pretrained(tmp_path)
    assert "outputs were not compared; pass example= to compare them" in load_back(model, tmp_path)


def test_a_padding_row_that_loading_sets_to_zero_is_named(tmp_path):
    model = tiny_llama(tie_word_embeddings=True)
    with torch.no_grad():
        model.model.embed_tokens.weight[0] = 1.0
    fresh = copy.deepcopy(model)
    with torch.no_grad():
        fresh.model.embed_tokens.weight[0] = 0.0
    with pytest.raises(
        CompressionError, match=r"row 0 of model\.embed_tokens\.weight is padding, which transformers sets to"
    ):
        compare_loaded(fresh, meant_tensors(model), tmp_path)


class MixesTypes(ReadsItsWeight):
    """A model that runs in fp32 alone, like some of transformers in bf16."""

    main_input_name = "pixel_values"

    def forward(self, pixel_values):
        return {"logits": functional.linear(torch.ones(2, 16), self.inner.weight)}


def test_a_model_that_does_not_run_as_it_is_stored_is_refused(tmp_path):
    with pytest.raises(CompressionError, match="MixesTypes does not run with weights stored in bfloat16"):
        cast_weights(MixesTypes(PretrainedConfig()), "bfloat16")
    model = MixesTypes(PretrainedConfig()).to(torch.bfloat16)  # past the check
    with pytest.raises(CompressionError, match=r"does not run as it is stored, in bfloat16 .* dtype='float32'"):
        compare_outputs(model, model, None, tmp_path)


def test_the_model_is_left_as_it_was(tmp_path):
    model = quantized(tiny_llama(), "W8A8").train()
    model.lm_head.eval()
    model.save_pretrained(tmp_path)
    before, numbers = {name: tensor.clone() for name, tensor in model.state_dict().items()}, torch.get_rng_state()
    load_back(model, tmp_path)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training and not model.lm_head.training and model.model.layers[0].training
    assert torch.equal(torch.get_rng_state(), numbers)


def test_a_replaced_forward_does_not_count(tmp_path):
    """Mixed precision of a trainer is wrapped around `forward`; what is served is the class's own."""
    model = tiny_llama()
    model.save_pretrained(tmp_path)
    model.forward = lambda **batch: {"logits": torch.zeros(1)}
    assert "logits equal" in load_back(model, tmp_path)


def test_outputs_are_compared_as_if_no_weight_asked_for_a_gradient(tmp_path):
    """LED hands its layers transposed inputs, whose products torch adds up in another order where a weight is trained."""
    from transformers import LEDConfig, LEDForConditionalGeneration

    sizes = {"d_model": 64, "encoder_layers": 1, "decoder_layers": 1, "encoder_attention_heads": 4, "attention_window": 8}
    sizes |= {"decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "vocab_size": 64}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LEDForConditionalGeneration(LEDConfig(**sizes, max_encoder_position_embeddings=64)).eval()
    quantize(model, Quantization(scheme=Scheme.create("W4A8", group_size=16)))
    save_compressed(model, tmp_path / "model")
    assert any(parameter.requires_grad for parameter in model.parameters())


def test_where_the_file_puts_a_tensor_is_no_difference(tmp_path, monkeypatch):
    """Matrix products of some processors add up in another order where a tensor begins at an odd address."""
    model = tiny_llama().eval()
    model.save_pretrained(tmp_path / "model")
    asked = type(model).forward

    def sensitive(self, *args, **values):
        found = asked(self, *args, **values)
        if self.model.norm.weight.data_ptr() % 64:
            found.logits = found.logits + 1e-6
        return found

    monkeypatch.setattr(type(model), "forward", sensitive)
    model.model.norm.weight.data = at_address(model.model.norm.weight.data, 0)
    loaded = type(model).from_pretrained(tmp_path / "model")
    loaded.model.norm.weight.data = at_address(loaded.model.norm.weight.data, 24)
    assert "logits equal" in compare_outputs(model, loaded, None, tmp_path)
    loaded.model.norm.weight.data[0] += 1
    with pytest.raises(CompressionError, match="logits of the loaded checkpoint differ"):
        compare_outputs(model, loaded, None, tmp_path)


def at_address(tensor, remainder):
    """A copy that begins so many bytes behind a multiple of 64."""
    room = torch.empty(tensor.numel() + 32, dtype=tensor.dtype)
    first = (remainder - room.data_ptr()) % 64 // room.element_size()
    placed = room[first : first + tensor.numel()].view(tensor.shape).copy_(tensor)
    assert placed.data_ptr() % 64 == remainder
    return placed
