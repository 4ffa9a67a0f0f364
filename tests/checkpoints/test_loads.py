"""A result is measured by its inputs: what they lack it may lack, what they hold beyond the class it may hold."""

import json

import pytest
import torch
import transformers as t
from safetensors.torch import load_file, save_file

from hf_compress import Member, Merge, merge
from hf_compress._errors import CompressionError
from hf_compress.merging.configuration import LayerRange, Slice
from hf_compress.merging.lora.apply import apply_adapters
from hf_compress.merging.methods.passthrough import Passthrough
from tests.checkpoints.test_tied import SMALL, assert_mean
from tests.merging.adapters import make_adapter

TOKENS = {"vocab_size": 64, **SMALL}
ENCODERS = {
    "BERT": lambda: t.BertModel(t.BertConfig(**TOKENS), add_pooling_layer=False),
    "XLM-R": lambda: t.XLMRobertaModel(t.XLMRobertaConfig(**TOKENS), add_pooling_layer=False),
    "MPNet": lambda: t.MPNetModel(t.MPNetConfig(**TOKENS), add_pooling_layer=False),
    "ViT": lambda: t.ViTModel(t.ViTConfig(image_size=16, patch_size=4, **SMALL), add_pooling_layer=False),
}


def merged(folder, **settings):
    job = Merge(members=[Member(str(folder / "a")), Member(str(folder / "b"))], **settings)
    result = merge(job, folder / "out", threads=1)
    return result, *(load_file(folder / name / "model.safetensors") for name in ("a", "b", "out"))


@pytest.mark.parametrize("name", ENCODERS)
def test_encoders_saved_without_their_pooler_are_merged(name, tmp_path):
    for each in ("a", "b"):
        ENCODERS[name]().save_pretrained(tmp_path / each)
    result, *tensors = merged(tmp_path)
    assert_mean(*tensors)
    assert result.loads.endswith("Model: absent as in the inputs: pooler.dense.bias and 1 more")
    manifest = json.loads((tmp_path / "out" / "compression.json").read_text())
    assert manifest["load_back"] == result.loads and result.loads in result.summary()


def extended(folder, more, make=lambda: t.BertForMaskedLM(t.BertConfig(**TOKENS))):
    """A checkpoint with tensors that its class does not load."""
    make().save_pretrained(folder)
    tensors = load_file(folder / "model.safetensors")
    save_file({**tensors, **more()}, folder / "model.safetensors", metadata={"format": "pt"})


def head_of_pretraining():
    return {
        "cls.seq_relationship.weight": torch.randn(2, 32),
        "cls.seq_relationship.bias": torch.randn(2),
        "bert.pooler.dense.weight": torch.randn(32, 32),
        "bert.pooler.dense.bias": torch.randn(32),
    }


def test_a_head_of_pretraining_that_the_class_ignores_is_merged_and_named(tmp_path):
    for each in ("a", "b"):
        extended(tmp_path / each, head_of_pretraining)
    result, *tensors = merged(tmp_path)
    assert_mean(*tensors)
    assert "ignored by the class as in the inputs: bert.pooler.dense.bias and 3 more" in result.loads
    t.BertForMaskedLM.from_pretrained(tmp_path / "out")


@pytest.mark.parametrize(
    "make, buffers",
    [
        (lambda: t.BertForMaskedLM(t.BertConfig(**TOKENS)), {"bert.embeddings.position_ids": torch.arange(512)[None]}),
        (
            lambda: t.LlamaForCausalLM(t.LlamaConfig(**TOKENS)),
            {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.rand(4)},
        ),
        (
            lambda: t.GPT2LMHeadModel(t.GPT2Config(vocab_size=64, n_embd=32, n_layer=1, n_head=4, n_positions=16)),
            {"transformer.h.0.attn.bias": torch.ones(1, 1, 16, 16, dtype=torch.bool).tril()},
        ),
    ],
)
def test_old_buffers_that_all_inputs_have_do_not_stop_the_merge(make, buffers, tmp_path):
    for each in ("a", "b"):
        extended(tmp_path / each, lambda: buffers, make)
    _, a, _, out = merged(tmp_path)
    assert out.keys() == a.keys()
    for name, tensor in buffers.items():
        assert torch.equal(out[name], tensor)


def test_what_the_inputs_have_must_be_in_the_result(tmp_path):
    for each in ("a", "b"):
        t.BertModel(t.BertConfig(**TOKENS)).save_pretrained(tmp_path / each)
    with pytest.raises(
        CompressionError, match=r"the merged checkpoint lacks pooler.dense.bias and 1 more as BertModel sees"
    ):
        merged(tmp_path, exclude=("re:pooler.*",))
    assert not (tmp_path / "out").exists()


def test_a_checkpoint_of_which_the_class_knows_nothing_is_refused(tmp_path):
    for each in ("a", "b"):
        t.BertModel(t.BertConfig(**TOKENS)).save_pretrained(tmp_path / each)
        file = tmp_path / each / "model.safetensors"
        save_file({f"module.{name}": tensor for name, tensor in load_file(file).items()}, file, metadata={"format": "pt"})
    with pytest.raises(CompressionError, match=r"BertModel knows no tensor of the merged checkpoint; correct config.json"):
        merged(tmp_path)


def test_stacked_layers_are_measured_by_layers_of_another_number(tmp_path):
    buffers = {f"model.layers.{number}.self_attn.rotary_emb.inv": torch.rand(4) for number in range(2)}
    make = lambda: t.LlamaForCausalLM(t.LlamaConfig(**{**TOKENS, "num_hidden_layers": 2}))  # noqa: E731
    extended(tmp_path / "a", lambda: buffers, make)
    pieces = tuple(Slice(sources=(LayerRange(member="m", layers=(0, 2)),)) for _ in range(2))
    job = Merge(method=Passthrough(), members=[Member(str(tmp_path / "a"), name="m")], slices=pieces)
    result = merge(job, tmp_path / "out", threads=1)
    assert result.loads.endswith("in the inputs: model.layers.0.self_attn.rotary_emb.inv and 3 more")


def test_an_adapter_on_an_encoder_without_pooler_is_applied(tmp_path):
    model = t.BertModel(t.BertConfig(**TOKENS), add_pooling_layer=False)
    model.save_pretrained(tmp_path / "base")
    make_adapter(model, tmp_path / "adapter", target_modules=["query"])
    result = apply_adapters(tmp_path / "base", [tmp_path / "adapter"], tmp_path / "out")
    assert "absent as in the inputs: pooler.dense.bias" in result.loads
    base, out = (load_file(tmp_path / name / "model.safetensors") for name in ("base", "out"))
    assert {name for name in base if not torch.equal(base[name], out[name])} == set(result.changed)
    assert base.keys() == out.keys() and len(result.changed) == 1
