"""What is written loads with plain from_pretrained, whatever the architecture."""

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForImageClassification, ResNetConfig, ResNetForImageClassification

from hf_compress import CompressionError
from hf_compress.training.averaging.average import Average
from hf_compress.training.averaging.checkpoint import read_average, write_average, write_model
from hf_compress.training.averaging.swa import SWA
from hf_compress.training.averaging.tensors import averaged_tensors
from tests.tiny import tiny_llama, tiny_vit


def tiny_resnet(seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = ResNetConfig(
            embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", num_labels=3, num_channels=3
        )
        model = ResNetForImageClassification(config)
        for buffer in model.buffers():
            if buffer.is_floating_point():
                buffer.uniform_(0.5, 1.5)
        return model


BUILD = {"llama": tiny_llama, "vit": tiny_vit, "resnet": tiny_resnet}


def mean_of_two(build, buffers=False):
    """The average of two models of one architecture, and the second model."""
    average, last = Average(buffers=buffers), build(seed=1)
    swa = SWA()
    average.add(build(seed=0), lambda a, b: swa.move(a, b, 0))
    average.add(last, lambda a, b: swa.move(a, b, 1))
    return average, last


@pytest.mark.parametrize("name", BUILD)
@pytest.mark.parametrize("buffers", [False, True])
def test_average_loads_with_from_pretrained_and_equals_the_mean(name, buffers, tmp_path):
    average, last = mean_of_two(BUILD[name], buffers)
    write_average(average, last, tmp_path / "out", {"method": "swa"}, None, writes=True)
    auto = AutoModelForCausalLM if name == "llama" else AutoModelForImageClassification
    loaded, info = auto.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert not any(info.values())
    first = BUILD[name](seed=0)
    for key, parameter in loaded.named_parameters():
        expected = (first.get_parameter(key) + last.get_parameter(key)) / 2
        torch.testing.assert_close(parameter, expected, rtol=1e-6, atol=1e-7)  # one rounding in fp32
    for key, buffer in loaded.named_buffers():
        own = last.get_buffer(key)
        averaged = buffers and own.is_floating_point()
        expected = (first.get_buffer(key) + own) / 2 if averaged else own
        torch.testing.assert_close(buffer, expected, rtol=1e-6 if averaged else 0, atol=0)
    if name == "resnet":
        assert any(key.endswith("running_var") for key in loaded.state_dict())


@pytest.mark.parametrize("name", BUILD)
def test_state_is_read_back_bit_for_bit(name, tmp_path):
    average, last = mean_of_two(BUILD[name])
    write_average(average, last, tmp_path / "out", {"method": "swa"}, None, writes=True)
    again = Average()
    read_average(again, last, tmp_path / "out", {"method": "swa"}, check_weights=True)
    assert again.num_points == 2 and again.tensors.keys() == average.tensors.keys()
    assert all(torch.equal(again.tensors[key], tensor) for key, tensor in average.tensors.items())


def test_a_state_with_other_tensors_is_refused(tmp_path):
    average, last = mean_of_two(tiny_llama)
    write_average(average, last, tmp_path / "out", {}, None, writes=True)
    with pytest.raises(CompressionError, match="do not hold the same tensors, first "):
        read_average(Average(), tiny_llama(seed=1, num_hidden_layers=1), tmp_path / "out", {}, check_weights=True)


def test_a_model_that_is_none_of_transformers_is_written_as_its_state_dict(tmp_path):
    model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Linear(3, 3))
    model[1].weight = torch.nn.Parameter(model[1].weight.detach())
    write_model(model, model.state_dict(), tmp_path / "out")
    assert all(torch.equal(load_file(tmp_path / "out" / "model.safetensors")[k], v) for k, v in model.state_dict().items())


def test_names_are_those_of_the_model_without_wrappers():
    model = tiny_llama()
    assert averaged_tensors(torch.compile(model), False).keys() == averaged_tensors(model, False).keys()
