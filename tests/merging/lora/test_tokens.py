"""Adapters that train single tokens: their rows are the adapter's, every other stays, as in PEFT's merge."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM

from hf_compress._errors import CompressionError
from hf_compress.checkpoints.source import open_source
from hf_compress.merging.lora.apply import apply_adapters
from tests import tiny
from tests.merging.adapters import make_adapter, merged_by_peft, save

EMBEDDING, HEAD = "model.embed_tokens.weight", "lm_head.weight"
CASES = {
    "one list": (False, [3, 5], {EMBEDDING: [3, 5]}),
    "a list for each module": (False, {"embed_tokens": [1, 4], "lm_head": [7]}, {EMBEDDING: [1, 4], HEAD: [7]}),
    "tied": (True, [5, 3], {EMBEDDING: [3, 5]}),
}


def trained(model, folder, **settings):
    """An adapter whose token rows are other numbers than the base's."""
    make_adapter(model, folder, **settings)
    file = folder / "adapter_model.safetensors"
    tensors = load_file(file)
    generator = torch.Generator().manual_seed(3)
    for key, tensor in tensors.items():
        if "trainable_tokens" in key:
            tensors[key] = tensor + torch.randn(tensor.shape, generator=generator)
    save_file(tensors, file, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("name", CASES)
def test_the_rows_are_the_ones_peft_merges(name, tmp_path):
    tied, indices, rows = CASES[name]
    model = tiny.tiny_llama(tie_word_embeddings=tied)
    base = save(model, tmp_path / "base")
    adapter = trained(model, tmp_path / "adapter", target_modules=["q_proj"], trainable_token_indices=indices)
    expected = merged_by_peft((LlamaForCausalLM, base), [adapter], tmp_path / "merged")
    result = apply_adapters(base, [adapter], tmp_path / "out")
    got, before = open_source(tmp_path / "out", "out"), open_source(base, "base")
    assert got.infos == expected.infos == before.infos
    for tensor in got.infos:
        assert torch.equal(got.read(tensor), expected.read(tensor))
    for tensor, changed in rows.items():
        assert tensor in result.changed
        assert (got.read(tensor) != before.read(tensor)).any(1).nonzero().flatten().tolist() == changed


def test_tokens_that_do_not_fit_are_refused(tmp_path):
    model = tiny.tiny_llama()
    base = save(model, tmp_path / "base")
    adapter = trained(model, tmp_path / "adapter", target_modules=["q_proj"], trainable_token_indices=[3, 5])
    file = adapter / "adapter_config.json"
    for indices, sentence in (
        ([3], r"names 1 tokens for model.embed_tokens, and the file has 2 rows"),
        ([3, 10**6], r"rows up to 1000000 of width \d+ are trained, and model.embed_tokens.weight in"),
        ({"lm_head": [3, 5]}, r"names no tokens of model.embed_tokens"),
        (None, r"trainable_token_indices=None names no tokens of model.embed_tokens"),
    ):
        file.write_text(json.dumps({**json.loads(file.read_text()), "trainable_token_indices": indices}))
        with pytest.raises(CompressionError, match=sentence):
            apply_adapters(base, [adapter], tmp_path / "out")
