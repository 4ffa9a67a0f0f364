"""PEFT reads an extracted adapter as it was meant, or it is no finished folder."""

import copy
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_compress._errors import CompressionError
from hf_compress.checkpoints.names import build_empty
from hf_compress.merging.lora.check import verify_peft_loads
from hf_compress.merging.lora.extract import extract_lora
from tests import tiny

STEM = "base_model.model.bert.encoder.layer.0.attention.self.query"


@pytest.fixture
def extracted(tmp_path):
    """An adapter with factors, a head saved whole and biases; the empty model it is for."""
    base = tiny.tiny_bert()
    tuned = copy.deepcopy(base)
    generator = torch.Generator().manual_seed(1)
    for parameter in tuned.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape, generator=generator)
    base.save_pretrained(tmp_path / "base")
    tuned.save_pretrained(tmp_path / "tuned")
    result = extract_lora(tmp_path / "base", tmp_path / "tuned", tmp_path / "out", rank=2)
    config = json.loads((tmp_path / "tuned" / "config.json").read_text())
    return tmp_path / "out", lambda: build_empty(config, "tuned"), result


def change(folder, edit):
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    edit(tensors)
    save_file(tensors, file)


def settings(folder, **fields):
    file = folder / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def test_what_was_extracted_loads(extracted):
    _, _, result = extracted
    assert result.loads == f"loads in PEFT: {len(result.layers)} layers, nothing missing, nothing unexpected"
    assert result.loads in result.summary()


FAULTS = {
    "a tensor dropped": (
        lambda folder: change(folder, lambda all_: all_.pop(f"{STEM}.lora_A.weight")),
        "lora_A.weight is miss",
    ),
    "a head dropped": (
        lambda folder: change(folder, lambda all_: all_.pop("base_model.model.classifier.weight")),
        "PEFT does not load the adapter.*classifier.weight",
    ),
    "a key renamed": (
        lambda folder: change(
            folder, lambda all_: all_.update({f"{STEM}s.lora_A.weight": all_.pop(f"{STEM}.lora_A.weight")})
        ),
        "is read nowhere and 1 more",
    ),
    "another shape": (
        lambda folder: change(folder, lambda all_: all_.update({f"{STEM}.lora_A.weight": torch.zeros(3, 32)})),
        "PEFT does not load the adapter|in the file",
    ),
    "another scale": (lambda folder: settings(folder, lora_alpha=4), "has the scales .*not 1"),
    "another rank": (lambda folder: settings(folder, r=3, lora_alpha=3), "PEFT does not load the adapter|in the file"),
    "fewer targets": (lambda folder: settings(folder, target_modules=["query"]), "read nowhere"),
    "a target that is not there": (
        lambda folder: settings(folder, target_modules=["quary"]),
        "PEFT does not load the adapter",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_folder_is_found(fault, extracted):
    folder, model, result = extracted
    edit, sentence = FAULTS[fault]
    edit(folder)
    with pytest.raises(CompressionError, match=sentence):
        verify_peft_loads(folder, model(), sorted(result.layers))


def test_an_adapter_that_does_not_load_leaves_no_folder(extracted, monkeypatch, tmp_path):
    def fails(folder, *_):
        raise CompressionError(f"{folder}: PEFT does not load the adapter")

    monkeypatch.setattr("hf_compress.merging.lora.extract.verify_peft_loads", fails)
    with pytest.raises(CompressionError, match="PEFT does not load"):
        extract_lora(tmp_path / "base", tmp_path / "tuned", tmp_path / "again", rank=2)
    assert not (tmp_path / "again").exists() and not (tmp_path / ".again.part").exists()
