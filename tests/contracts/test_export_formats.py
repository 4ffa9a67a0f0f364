"""What every export format promises; a new one is tested without editing a list."""

import dataclasses

import pytest
import torch
from transformers import LlamaForCausalLM

from hf_compress import Constant, Pruning, Quantization, prune, quantize
from hf_compress._errors import CompressionError
from hf_compress._registry import dump
from hf_compress.checkpoints.export_format import ExportFormat
from hf_compress.export.configuration import Export
from hf_compress.quantization.fitting import check_model
from hf_compress.quantization.schemes.presets import W8A16
from hf_compress.recipe.build import build
from tests.tiny import tiny_llama, tiny_tokenizer

FORMATS = [pytest.param(kind(), id=name) for name, kind in ExportFormat.available().items()]
SCHEME = W8A16(group_size=16)


def finished(quantized):
    model = tiny_llama().eval()
    prune(model, Pruning(schedule=Constant(final=0.5)))
    if quantized:
        quantize(model, Quantization(scheme=SCHEME))
    return model


@torch.no_grad()
def logits(model):
    return model(input_ids=torch.randint(3, 60, (2, 8), generator=torch.Generator().manual_seed(0))).logits


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("quantized", [False, True])
def test_what_it_says_it_can_hold_is_written_loaded_back_and_weighed(form, quantized, tmp_path):
    chosen, model = form.chosen(quantized), finished(quantized)
    if chosen.mistake(quantized):
        with pytest.raises(CompressionError):
            chosen.save(model, tmp_path / "model", tiny_tokenizer())
        assert list(tmp_path.iterdir()) == []
        return
    expected, before = logits(model), {name: value.clone() for name, value in model.state_dict().items()}
    assert chosen.save(model, tmp_path / "model", tiny_tokenizer()) == tmp_path / "model"
    loaded = logits(chosen.load(LlamaForCausalLM, tmp_path / "model").eval())
    assert (loaded - expected).abs().max() <= chosen.tolerance * expected.abs().max()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    files = chosen.weight_files(tmp_path / "model")
    assert files and all(file.parent == tmp_path / "model" and file.stat().st_size for file in files)
    assert (tmp_path / "model" / "tokenizer.json").is_file()
    with pytest.raises(CompressionError, match="exists"):
        chosen.save(model, tmp_path / "model")


@pytest.mark.parametrize("form", FORMATS)
def test_what_it_cannot_hold_is_refused_before_training_by_its_name(form):
    chosen, model = form.chosen(quantized=True), tiny_llama()
    stored = SCHEME.to_compressed_tensors(["Linear"])
    linear = model.model.layers[0].self_attn.q_proj
    quantization = Quantization(scheme=SCHEME)
    if chosen.holds(linear, stored):
        with pytest.raises(CompressionError, match=rf"q_proj is a Linear, and no export format.* \({chosen.name}: "):
            check_model(model, quantization, [chosen])
    else:
        assert len(check_model(model, quantization, [chosen]).modules) == 14
    assert bool(chosen.mistake(quantized=True)) <= bool(chosen.holds(linear, stored))


@pytest.mark.parametrize("form", FORMATS)
def test_a_recipe_names_it_and_a_card_says_how_to_load_it(form):
    problems = []
    plain = {"format": dump(form, full=True)}
    assert build(Export, plain, "export", problems) == Export(format=form), problems
    assert dataclasses.is_dataclass(form) and type(form).__doc__
    code = form.usage("LlamaForCausalLM", "AutoTokenizer")  # empty: transformers' own way, which the card writes
    compile(code, "card", "exec")
    assert (not code or "LlamaForCausalLM" in code) and form.needs.endswith(".")
