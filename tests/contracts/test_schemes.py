"""What every scheme promises; a new row or class is tested without editing a list."""

import copy
import json

import pytest
import torch
from transformers import AutoModelForCausalLM

from hf_compress import Quantization, save_compressed
from hf_compress._registry import dump
from hf_compress.quantization.fake_quantize import fake_quantize_weight
from hf_compress.quantization.scheme import Scheme, scheme_of
from hf_compress.recipe.build import build
from tests.tiny import tiny_llama
from tests.training.runs import llama_trainer

SCHEMES = [pytest.param(kind(), id=name) for name, kind in Scheme.available().items()]


@torch.no_grad()
def logits(model):
    return model(input_ids=torch.randint(3, 60, (2, 8), generator=torch.Generator().manual_seed(0))).logits


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_checkpoint_says_which_it_was(scheme):
    for one in (scheme, scheme.finest()):
        stored = one.to_compressed_tensors(["Linear"])
        assert stored.targets == ["Linear"] and stored.weights is not None
        assert scheme_of(stored) == scheme_of(copy.deepcopy(stored)) == one
        assert one.to_compressed_tensors(["Linear"]) == stored


@pytest.mark.parametrize("scheme", SCHEMES)
def test_rounding_twice_is_rounding_once(scheme):
    args = scheme.finest().to_compressed_tensors([]).weights
    weight = torch.randn(8, 128, generator=torch.Generator().manual_seed(0))
    once = fake_quantize_weight(weight, args)
    assert once.shape == weight.shape and not torch.equal(once, weight)
    # The range is taken from the rounded weights, whose largest may be a step smaller.
    step = weight.abs().amax() / 2 ** (args.num_bits - 2)
    torch.testing.assert_close(fake_quantize_weight(once, args), once, rtol=0, atol=float(step))


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_recipe_names_it_alone_or_with_its_options(scheme):
    for one in (scheme, scheme.finest()):
        problems = []
        plain = json.loads(json.dumps({"scheme": dump(one)}))
        assert build(Quantization, plain, "quantization", problems) == Quantization(scheme=one), problems
    assert dump(scheme) == scheme.name


@pytest.mark.parametrize("scheme", SCHEMES)
def test_what_is_trained_in_it_is_what_plain_transformers_loads(scheme, tmp_path):
    job = Quantization(scheme=scheme.finest(), begin=0)
    trainer = llama_trainer(tmp_path / "run", {"quantization": job}, max_steps=2, save_strategy="no")
    before = copy.deepcopy(trainer.model.model.layers[0].mlp.up_proj.weight)
    trainer.train()
    assert not torch.equal(trainer.model.model.layers[0].mlp.up_proj.weight, before)
    model = trainer.finalize(dtype="bfloat16").eval()
    assert not torch.equal(logits(model), logits(tiny_llama()))
    save_compressed(model, tmp_path / "model")
    assert torch.equal(logits(AutoModelForCausalLM.from_pretrained(tmp_path / "model").eval()), logits(model))
