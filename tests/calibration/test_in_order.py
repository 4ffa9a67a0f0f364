"""Statistics block by block, against passes of the whole model."""

import itertools
from functools import partial

import pytest
import torch
from torch import nn
from transformers import AlbertConfig, AlbertForSequenceClassification

from hf_compress import CompressionError
from hf_compress.calibration.chains import stages_in_order
from hf_compress.calibration.collect import collect
from hf_compress.calibration.in_order import collect_in_order
from tests.tiny import tiny_bart, tiny_bert, tiny_gpt2, tiny_llama, tiny_t5, tiny_vit, tiny_whisper


def tokens(rows, length, seed=0):
    return torch.randint(3, 60, (rows, length), generator=torch.Generator().manual_seed(seed))


def texts(padded=True):
    batches = []
    for seed in range(2):
        mask = torch.ones(3, 7, dtype=torch.long)
        if padded:
            mask[1, 5:] = 0
        batches.append({"input_ids": tokens(3, 7, seed), "attention_mask": mask})
    return batches


def pairs():
    return [{**one, "decoder_input_ids": tokens(3, 4, 9)} for one in texts()]


def pictures():
    generator = torch.Generator().manual_seed(0)
    size = tiny_vit().config.image_size
    return [{"pixel_values": torch.randn(2, 3, size, size, generator=generator)} for _ in range(2)]


def sounds():
    config = tiny_whisper().config
    length = 2 * config.max_source_positions
    generator = torch.Generator().manual_seed(0)
    return [
        {
            "input_features": torch.randn(2, config.num_mel_bins, length, generator=generator),
            "decoder_input_ids": tokens(2, 4) % config.vocab_size,
        }
    ]


def tiny_albert():
    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "embedding_size": 8, "intermediate_size": 32, "num_attention_heads": 2}
    return AlbertForSequenceClassification(AlbertConfig(vocab_size=64, num_hidden_layers=3, num_labels=3, **sizes))


MODELS = {
    "llama": (tiny_llama, texts),
    "gpt2": (tiny_gpt2, texts),
    "bert": (tiny_bert, texts),
    "t5": (tiny_t5, pairs),
    "bart": (tiny_bart, pairs),
    "vit": (tiny_vit, pictures),
    "whisper": (partial(tiny_whisper, encoder_layers=2, decoder_layers=2), sounds),
    "albert": (tiny_albert, texts),
}


def layers(model):
    embedded = {id(one.weight) for one in model.modules() if isinstance(one, nn.Embedding)}
    kinds = (nn.Linear, type(tiny_gpt2().transformer.h[0].attn.c_attn))
    return {name: one for name, one in model.named_modules() if isinstance(one, kinds) and id(one.weight) not in embedded}


def shrink(part, found):
    for layer in part.layers.values():
        layer.weight.mul_(0.7)


@pytest.mark.parametrize("kind", MODELS)
def test_where_nothing_changes_they_are_those_of_one_pass(kind):
    make, batches = MODELS[kind]
    model, seen = make(), {}
    collect_in_order(model, batches(), ["gram"], layers(model), lambda part, found: seen.update(found["gram"]))
    wanted = collect(model, batches(), ["gram"], modules=layers(model))["gram"]
    assert seen.keys() == wanted.keys() and wanted
    for name, value in wanted.items():
        torch.testing.assert_close(seen[name], value)


@pytest.mark.parametrize("kind", MODELS)
def test_what_is_changed_is_seen_by_what_comes_after(kind):
    """A slow reference: for each part a pass of the whole model, in which the parts before it are changed already."""
    make, batches = MODELS[kind]
    model, slow, seen, parts = make(), make(), {}, []

    def visit(part, found):
        parts.append(list(part.layers))
        seen.update(found["gram"])
        shrink(part, found)

    collect_in_order(model, batches(), ["gram"], layers(model), visit)
    assert sorted(itertools.chain.from_iterable(parts)) == sorted(layers(model))
    for names in parts:
        some = {name: slow.get_submodule(name) for name in names}
        for name, value in collect(slow, batches(), ["gram"], modules=some)["gram"].items():
            torch.testing.assert_close(seen[name], value)
        for one in some.values():
            with torch.no_grad():
                one.weight.mul_(0.7)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), slow.state_dict().values(), strict=True))


@pytest.mark.parametrize(
    ("kind", "lengths"),
    [("llama", [2]), ("bert", [2]), ("t5", [2, 2]), ("bart", [2, 2]), ("whisper", [2, 2]), ("vit", [2]), ("albert", [1])],
)
def test_blocks_that_feed_one_another_are_chains(kind, lengths):
    make, batches = MODELS[kind]
    chains = stages_in_order(make().eval(), batches()[0], layers(make()))
    assert [len(chain) for chain in chains if chain[0].block is not None] == lengths


def test_a_chain_runs_each_block_twice_and_the_rest_once():
    model, calls = tiny_llama(), []
    model.model.layers[0].register_forward_hook(lambda *_: calls.append("first"))
    model.lm_head.register_forward_hook(lambda *_: calls.append("head"))
    chosen = {name: one for name, one in layers(model).items() if "layers" in name}
    collect_in_order(model, texts(), ["gram"], chosen, shrink)
    # One pass of the first batch finds the chain; both batches are recorded, observed and run on.
    assert calls.count("first") == 1 + 3 * 2 and calls.count("head") == 1


def test_modes_cache_and_training_are_as_they_were():
    model = tiny_llama().train()
    batch = texts()[0]
    collect_in_order(model, [batch], ["input_norm"], layers(model), lambda part, found: None)
    assert model.training and model.config.use_cache
    model.eval()
    assert model(**batch).past_key_values is not None
    model(**batch, labels=batch["input_ids"]).loss.backward()


def test_refused():
    model = tiny_llama()
    with pytest.raises(CompressionError, match="batches is empty"):
        collect_in_order(model, [], ["gram"], layers(model), shrink)
    with pytest.raises(CompressionError, match="fisher is of gradients, which go through the whole model"):
        collect_in_order(model, texts(), ["fisher"], layers(model), shrink)
