"""Inputs that differ in names, class or ties merge as loading reads them; references are computed in fp64."""

import json

import pytest
import torch
import transformers as t
from safetensors.torch import load_file, save_file

from hf_compress import CompressionError, Member, Merge, Ties, merge
from hf_compress.checkpoints.sized_tensors import sized_tensors
from hf_compress.checkpoints.source import open_source
from hf_compress.merging.configuration import Heads, LayerRange, Slice, Sparsity, Tokenizer
from hf_compress.merging.members.common_names import unify
from hf_compress.merging.method import MergeMethod
from tests.merging.checkpoints import word_tokenizer
from tests.merging.test_architectures import ties
from tests.merging.zoo import ZOO, make

SMALL = {"vocab_size": 64, "hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
NAMES = {"num_labels": 3, "id2label": {0: "x", 1: "y", 2: "z"}, "label2id": {"x": 0, "y": 1, "z": 2}}


def save(folder, model, seed, rename=None, **added):
    """A checkpoint of random numbers, with other names and more tensors; its tensors by the names that the class writes."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    model.save_pretrained(folder)
    plain = load_file(folder / "model.safetensors")
    renamed = {rename(name): tensor for name, tensor in plain.items()} if rename else plain
    save_file({**renamed, **added}, folder / "model.safetensors", metadata={"format": "pt"})
    return plain


def merged(folder, *members, base=None, **settings):
    """The result of a merge of folders by name, and its tensors."""
    job = Merge(members=[Member(str(folder / name)) for name in members], base=base and str(folder / base), **settings)
    result = merge(job, folder / "out", threads=1)
    assert "nothing missing, nothing unexpected" in result.loads
    return result, load_file(folder / "out" / "model.safetensors")


def assert_is(found, expected):
    """Equal but for fp32's last bits."""
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(
            tensor.double(), expected[name], rtol=1e-6, atol=1e-6, msg=lambda text, n=name: f"{n}: {text}"
        )


def mean(*models):
    return {name: sum(model[name].double() for model in models) / len(models) for name in models[0]}


def legacy(name):
    return name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")


def bert(cls=t.BertForMaskedLM, **settings):
    return cls(t.BertConfig(**SMALL, **settings))


def bare_bert():
    return t.BertModel(t.BertConfig(**SMALL), add_pooling_layer=False)


def gpt2():
    return t.GPT2LMHeadModel(t.GPT2Config(vocab_size=64, n_embd=16, n_layer=2, n_head=2, n_positions=8))


def gemma3():
    text = {**SMALL, "num_key_value_heads": 2, "head_dim": 8, "sliding_window": 8}
    vision = {**SMALL, "num_hidden_layers": 1, "image_size": 28, "patch_size": 14}
    config = t.Gemma3Config(text_config=text, vision_config=vision, mm_tokens_per_image=4, image_token_index=60)
    return t.Gemma3ForConditionalGeneration(config)


def neox():
    return t.GPTNeoXForCausalLM(t.GPTNeoXConfig(**SMALL))


def llama(tied, **settings):
    return t.LlamaForCausalLM(t.LlamaConfig(**{**SMALL, **settings}, tie_word_embeddings=tied))


OTHER_NAMES = {
    "BERT of the Hub": (bert, legacy, {"bert.embeddings.position_ids": torch.arange(8)[None]}),
    "GPT-2 of the Hub": (gpt2, lambda name: name.removeprefix("transformer."), {"h.0.attn.bias": torch.ones(1, 1, 8, 8)}),
    "Gemma 3 of another release": (
        gemma3,
        lambda name: "model." + name.replace("language_model.model.", "language_model."),
        {},
    ),
    "GPT-NeoX": (neox, lambda name: name.replace("embed_out.", "lm_head."), {}),
    "old Llama": (lambda: llama(False), None, {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.ones(4)}),
}


@pytest.mark.parametrize("renamed_first", [True, False])
@pytest.mark.parametrize("case", OTHER_NAMES)
def test_two_spellings_of_one_model_merge_under_the_names_of_the_first(case, renamed_first, tmp_path):
    build, rename, added = OTHER_NAMES[case]
    first = save(tmp_path / "a", build(), 0, rename if renamed_first else None, **(added if renamed_first else {}))
    second = save(tmp_path / "b", build(), 1, None if renamed_first else rename, **({} if renamed_first else added))
    result, found = merged(tmp_path, "a", "b")
    expected = mean(first, second)
    if renamed_first and rename:
        expected = {rename(name): tensor for name, tensor in expected.items()}
    assert_is(found, expected)
    reasons = set(result.account.excluded.values())
    assert len(result.account.excluded) == len(added) and all("ignores it on loading" in reason for reason in reasons)


def test_task_vectors_are_taken_across_two_spellings(tmp_path):
    base = save(tmp_path / "base", bert(), 0, legacy)
    members = [save(tmp_path / name, bert(), seed) for seed, name in ((1, "a"), (2, "b"))]
    job = Merge(
        method=Ties(density=0.5),
        base=str(tmp_path / "base"),
        members=[Member(str(tmp_path / name), weight=weight) for name, weight in (("a", 0.3), ("b", 0.7))],
    )
    merge(job, tmp_path / "out", threads=1)
    expected = {
        legacy(name): ties(members[0][name].double(), members[1][name].double(), base[name].double()) for name in base
    }
    for name, tensor in load_file(tmp_path / "out" / "model.safetensors").items():
        torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-6, atol=3e-6)


@pytest.mark.parametrize("members", [("full", "bare"), ("bare", "full")])
def test_an_encoder_alone_beside_a_model_with_a_head_leaves_the_head_to_its_owner(members, tmp_path, caplog):
    full, bare = save(tmp_path / "full", bert(), 0), save(tmp_path / "bare", bare_bert(), 1)
    result, found = merged(tmp_path, *members)
    encoder = {f"bert.{name}": tensor for name, tensor in bare.items()}
    expected = {
        name: mean({name: tensor}, encoder)[name] if name in encoder else tensor.double() for name, tensor in full.items()
    }
    assert_is(found, expected)
    head = [name for name in full if name not in encoder]
    assert head and all(torch.equal(found[name], full[name]) for name in head)
    said = f"and {len(head) - 1} more: full alone has it"
    assert any(message.endswith(said) for message in caplog.messages)
    assert f"- copied (full alone has it): {len(head)}" in (tmp_path / "out" / "README.md").read_text()
    assert result.reports["names"]["class"] == result.architecture == "BertForMaskedLM"


def test_a_head_beside_which_only_encoders_stand_is_that_of_the_base(tmp_path):
    base = save(tmp_path / "base", bert(), 0)
    save(tmp_path / "a", bare_bert(), 1)
    _, found = merged(tmp_path, "a", base="base", method=Ties(density=1.0))
    assert all(torch.equal(found[name], base[name]) for name in base if not name.startswith("bert."))


@pytest.mark.parametrize("base", ["encoder", "another head"])
def test_the_heads_of_classifiers_over_the_base_encoder_become_their_mean_with_their_labels(base, tmp_path):
    model, rename = (bare_bert(), None) if base == "encoder" else (bert(), legacy)
    origin = save(tmp_path / "base", model, 0, rename)
    origin = {f"bert.{name.removeprefix('bert.')}": tensor for name, tensor in origin.items()}
    first, second = (
        save(tmp_path / name, bert(t.BertForSequenceClassification, **NAMES), seed) for seed, name in ((1, "a"), (2, "b"))
    )
    job = Merge(
        method=Ties(density=0.5),
        base=str(tmp_path / "base"),
        members=[Member(str(tmp_path / name), weight=weight) for name, weight in (("a", 0.3), ("b", 0.7))],
    )
    result = merge(job, tmp_path / "out", threads=1)
    expected = {
        name: ties(first[name].double(), second[name].double(), origin[name].double())
        if name in origin
        else 0.3 * first[name].double() + 0.7 * second[name].double()
        for name in first
    }
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert found.keys() == expected.keys()
    for name, tensor in found.items():
        torch.testing.assert_close(tensor.double(), expected[name], rtol=1e-6, atol=3e-6)
    loaded = t.AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    assert type(loaded) is t.BertForSequenceClassification and loaded.config.id2label == NAMES["id2label"]
    assert "- of these (the members' mean without a base): 4" in (tmp_path / "out" / "README.md").read_text()  # and pooler
    assert result.architecture == "BertForSequenceClassification"


def test_weights_that_have_no_mean_are_refused_for_a_head_without_a_base(tmp_path):
    save(tmp_path / "base", bare_bert(), 0)
    for seed, name in ((1, "a"), (2, "b")):
        save(tmp_path / name, bert(t.BertForSequenceClassification, **NAMES), seed)
    members = [Member(str(tmp_path / "a"), weight=1.0), Member(str(tmp_path / "b"), weight=-0.5)]
    job = Merge(method=MergeMethod.create("task_arithmetic"), base=str(tmp_path / "base"), members=members)
    with pytest.raises(CompressionError, match=r"bert.pooler.*: the base has none.*\[1.0, -0.5\] have none; write take: "):
        merge(job, tmp_path / "out", threads=1)


def test_a_layer_that_is_missing_is_no_missing_head(tmp_path):
    save(tmp_path / "full", bert(), 0)
    save(tmp_path / "bare", bare_bert(), 1)
    tensors = load_file(tmp_path / "bare" / "model.safetensors")
    del tensors["encoder.layer.1.output.dense.weight"]
    save_file(tensors, tmp_path / "bare" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CompressionError, match="bare.* has no tensor bert.encoder.layer.1.output.dense.weight, which full"):
        merged(tmp_path, "full", "bare")


def test_two_different_heads_stay_refused(tmp_path):
    save(tmp_path / "a", bert(), 0)
    save(tmp_path / "b", bert(t.BertForSequenceClassification, **NAMES), 1)
    with pytest.raises(CompressionError, match=r"has no tensor classifier.bias, which .* has; exclude it, or write take"):
        merged(tmp_path, "a", "b")
    with pytest.raises(CompressionError, match="a mergekit file cannot say what becomes of it: leave that model out, or"):
        merged(tmp_path, "a", "b", compat="mergekit")


@pytest.mark.parametrize("members", [("tied", "untied"), ("untied", "tied")])
def test_a_tied_head_beside_an_untied_one_is_its_embedding(members, tmp_path):
    tied, untied = save(tmp_path / "tied", llama(True), 0), save(tmp_path / "untied", llama(False), 1)
    result, found = merged(tmp_path, *members)
    assert_is(found, mean({**tied, "lm_head.weight": tied["model.embed_tokens.weight"]}, untied))
    assert json.loads((tmp_path / "out" / "config.json").read_text())["tie_word_embeddings"] is False
    assert result.reports["names"]["untied"].startswith("lm_head.weight, as in untied; in tied")
    loaded = t.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.equal(loaded.lm_head.weight, found["lm_head.weight"])
    assert torch.equal(loaded.model.embed_tokens.weight, found["model.embed_tokens.weight"])


def test_a_config_that_ties_what_is_stored_apart_is_untied(tmp_path):
    tied, other = save(tmp_path / "tied", llama(True), 0), save(tmp_path / "parted", llama(False), 1)
    file = tmp_path / "parted" / "config.json"
    file.write_text(file.read_text().replace('"tie_word_embeddings": false', '"tie_word_embeddings": true'))
    _, found = merged(tmp_path, "tied", "parted")
    assert_is(found, mean({**tied, "lm_head.weight": tied["model.embed_tokens.weight"]}, other))


def test_a_class_that_always_ties_keeps_two_weights_that_are_stored_and_differ(tmp_path):
    tied = save(tmp_path / "tied", ZOO["T5"][0](ZOO["T5"][1]()), 0)
    head = torch.randn(64, 32, generator=torch.Generator().manual_seed(2))
    parted = save(tmp_path / "parted", ZOO["T5"][0](ZOO["T5"][1]()), 1, **{"lm_head.weight": head})
    _, found = merged(tmp_path, "tied", "parted")
    assert_is(found, mean({**tied, "lm_head.weight": tied["shared.weight"]}, {**parted, "lm_head.weight": head}))
    loaded = t.AutoModelForSeq2SeqLM.from_pretrained(tmp_path / "out")
    assert torch.equal(loaded.lm_head.weight, found["lm_head.weight"])
    assert torch.equal(loaded.shared.weight, found["shared.weight"])


def test_a_config_without_a_class_is_read_as_the_others_are(tmp_path):
    first, second = save(tmp_path / "a", bert(), 0), save(tmp_path / "b", bert(), 1, legacy)
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    del config["architectures"]
    (tmp_path / "b" / "config.json").write_text(json.dumps(config))
    assert_is(merged(tmp_path, "a", "b")[1], mean(first, second))
    tensors = load_file(tmp_path / "b" / "model.safetensors")
    del tensors["bert.encoder.layer.1.output.dense.weight"]
    save_file(tensors, tmp_path / "b" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CompressionError, match="has no tensor bert.encoder.layer.1.output.dense.weight"):
        merge(Merge(members=[Member(str(tmp_path / name)) for name in ("a", "b")]), tmp_path / "again", threads=1)


def test_the_zeros_of_a_base_mask_what_it_has_and_not_the_heads_it_lacks(tmp_path):
    base = save(tmp_path / "base", bare_bert(), 0)
    name = "encoder.layer.0.output.dense.weight"
    base[name][:, ::2] = 0
    save_file(base, tmp_path / "base" / "model.safetensors", metadata={"format": "pt"})
    for seed, folder in ((1, "a"), (2, "b")):
        save(tmp_path / folder, bert(t.BertForSequenceClassification, **NAMES), seed)
    _, found = merged(tmp_path, "a", "b", base="base", method=Ties(density=0.5), sparsity=Sparsity(policy="base"))
    assert int((found[f"bert.{name}"] == 0).sum()) >= base[name].numel() // 2
    assert int((found["classifier.weight"] == 0).sum()) == 0


def test_biases_that_are_tied_with_the_head_part_with_it(tmp_path):
    tied = save(tmp_path / "tied", bert(), 0)
    untied = save(tmp_path / "untied", bert(tie_word_embeddings=False), 1)
    _, found = merged(tmp_path, "tied", "untied")
    both = {
        **tied,
        "cls.predictions.decoder.weight": tied["bert.embeddings.word_embeddings.weight"],
        "cls.predictions.decoder.bias": tied["cls.predictions.bias"],
    }
    assert_is(found, mean(both, untied))


def test_layers_of_a_tied_and_an_untied_model_are_stacked(tmp_path):
    tied, untied = save(tmp_path / "tied", llama(True), 0), save(tmp_path / "untied", llama(False), 1)
    slices = [
        Slice(sources=(LayerRange(member="tied", layers=(0, 2)),)),
        Slice(sources=(LayerRange(member="untied", layers=(1, 2)),)),
    ]
    job = Merge(
        method=MergeMethod.create("passthrough"),
        members=[Member(str(tmp_path / name), name=name) for name in ("tied", "untied")],
        slices=slices,
    )
    merge(job, tmp_path / "out", threads=1)
    found = load_file(tmp_path / "out" / "model.safetensors")
    assert torch.equal(found["model.embed_tokens.weight"], tied["model.embed_tokens.weight"])
    assert torch.equal(found["lm_head.weight"], untied["lm_head.weight"])
    assert torch.equal(found["model.layers.2.mlp.up_proj.weight"], untied["model.layers.1.mlp.up_proj.weight"])


def mixture():
    sizes = {**SMALL, "num_key_value_heads": 2, "head_dim": 8, "num_experts": 2, "moe_intermediate_size": 8}
    return t.Qwen3MoeForCausalLM(t.Qwen3MoeConfig(**sizes, num_experts_per_tok=1))


def test_experts_joined_in_one_input_and_apart_in_another_are_one_sentence_whose_advice_works(tmp_path):
    save(tmp_path / "apart", mixture(), 0)
    model = t.AutoModelForCausalLM.from_pretrained(tmp_path / "apart")
    model.save_pretrained(tmp_path / "joined", save_original_format=False)
    with pytest.raises(CompressionError, match=r"joined and apart; load each .* save_original_format=False") as caught:
        merged(tmp_path, "apart", "joined")
    assert "\n" not in str(caught.value)
    for name in ("apart", "joined"):
        loaded = t.AutoModelForCausalLM.from_pretrained(tmp_path / name)
        loaded.save_pretrained(tmp_path / f"{name} again", save_original_format=False)
    merged(tmp_path, "apart again", "joined again")
    for name, tensor in t.AutoModelForCausalLM.from_pretrained(tmp_path / "out").state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name])  # the mean of two equal models


def test_inputs_that_are_alike_are_not_wrapped(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / name, llama(False), 0)
    sources = [open_source(tmp_path / name, name) for name in ("a", "b")]
    assert unify(sources).sources == tuple(sources)


def test_a_weight_that_stands_twice_is_refused(tmp_path):
    save(tmp_path / "a", bert(), 0)
    save(tmp_path / "b", bert(), 1, **{"bert.embeddings.LayerNorm.gamma": torch.ones(16)})
    with pytest.raises(CompressionError, match="holds bert.embeddings.LayerNorm.weight twice, as .*gamma and as .*weight"):
        merged(tmp_path, "a", "b")


def test_the_rows_of_a_vocabulary_are_found_under_the_names_of_another_release(tmp_path):
    save(tmp_path / "a", gemma3(), 0, OTHER_NAMES["Gemma 3 of another release"][1])
    found = sized_tensors(open_source(tmp_path / "a", "a"), "vocab_size")
    assert found == {"model.language_model.embed_tokens.weight": 0}


def test_statistics_follow_their_model_to_the_common_names(tmp_path):
    first, second = save(tmp_path / "a", bert(), 0, legacy), save(tmp_path / "b", bert(), 1)
    for name, rename, value in (("a", legacy, 1.0), ("b", str, 3.0)):
        (tmp_path / f"fisher {name}").mkdir()
        fisher = {rename(key): torch.full_like(tensor, value) for key, tensor in first.items()}
        save_file(fisher, tmp_path / f"fisher {name}" / "model.safetensors")
    members = [Member(str(tmp_path / name), statistics={"fisher": str(tmp_path / f"fisher {name}")}) for name in ("a", "b")]
    merge(Merge(method=MergeMethod.create("fisher"), members=members), tmp_path / "out", threads=1)
    for name, tensor in load_file(tmp_path / "out" / "model.safetensors").items():
        plain = name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
        expected = (first[plain].double() + 3 * second[plain].double()) / 4
        torch.testing.assert_close(tensor.double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "name", [name if name in ("ViT", "Wav2Vec2") else pytest.param(name, marks=pytest.mark.slow) for name in ZOO]
)
def test_names_as_in_memory_and_as_on_disk_merge_to_the_same_values(name, tmp_path):
    cls = ZOO[name][0]
    for seed, folder in enumerate(("a", "b")):
        make(name, seed).save_pretrained(tmp_path / folder)
    cls.from_pretrained(tmp_path / "b").save_pretrained(tmp_path / "plain", save_original_format=False)
    loaded = {}
    for pair in (("a", "b"), ("a", "plain"), ("plain", "a")):
        job = Merge(members=[Member(str(tmp_path / folder)) for folder in pair])
        if name == "Qwen3-MoE" and "plain" in pair:
            with pytest.raises(CompressionError, match="joined and apart"):
                merge(job, tmp_path / "-".join(pair), threads=1)
        else:
            merge(job, tmp_path / "-".join(pair), threads=1)
            loaded[pair] = cls.from_pretrained(tmp_path / "-".join(pair)).state_dict()
    first, *others = loaded.values()
    for other in others:
        for key, tensor in first.items():
            torch.testing.assert_close(other[key], tensor, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("members", [("full", "bare"), ("bare", "full")])
def test_experts_that_are_stored_apart_meet_under_a_prefix(members, tmp_path):
    full = save(tmp_path / "full", mixture(), 0)
    bare = save(tmp_path / "bare", t.Qwen3MoeModel(mixture().config), 1)
    _, found = merged(tmp_path, *members)
    inner = {f"model.{name}": tensor for name, tensor in bare.items()}
    assert "model.layers.0.mlp.experts.1.gate_proj.weight" in inner
    assert_is(
        found, {**mean({name: full[name] for name in inner}, inner), "lm_head.weight": full["lm_head.weight"].double()}
    )


def test_an_expert_that_is_missing_is_no_missing_head(tmp_path):
    save(tmp_path / "full", mixture(), 0)
    save(tmp_path / "bare", t.Qwen3MoeModel(mixture().config), 1)
    tensors = load_file(tmp_path / "bare" / "model.safetensors")
    del tensors["layers.1.mlp.experts.1.up_proj.weight"]
    save_file(tensors, tmp_path / "bare" / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CompressionError, match=r"bare.* has no tensor model.layers.1.mlp.experts.1.up_proj.weight, which"):
        merged(tmp_path, "full", "bare")


@pytest.mark.parametrize("policy", ["take", "drop", "concatenate"])
def test_the_policies_for_heads_act_over_a_base_without_one(policy, tmp_path):
    save(tmp_path / "base", bare_bert(), 0)
    first = save(tmp_path / "a", bert(t.BertForSequenceClassification, **NAMES), 1)
    other = {"num_labels": 2, "id2label": {0: "v", 1: "w"}, "label2id": {"v": 0, "w": 1}}
    second = save(tmp_path / "b", bert(t.BertForSequenceClassification, **other), 2)
    members = [Member(str(tmp_path / name), name=name) for name in ("a", "b")]
    heads = Heads(policy=policy, member="b" if policy == "take" else None)
    merge(Merge(method=Ties(), base=str(tmp_path / "base"), members=members, heads=heads), tmp_path / "out", threads=1)
    found = load_file(tmp_path / "out" / "model.safetensors")
    labels = t.AutoConfig.from_pretrained(tmp_path / "out").id2label
    if policy == "drop":
        assert "classifier.weight" not in found
    elif policy == "take":
        assert torch.equal(found["classifier.weight"], second["classifier.weight"]) and labels == other["id2label"]
    else:
        assert torch.equal(found["classifier.weight"], torch.cat([first["classifier.weight"], second["classifier.weight"]]))
        assert list(labels.values()) == ["x", "y", "z", "v", "w"]


def test_a_union_of_tokens_aligns_the_head_that_a_tied_input_does_not_store(tmp_path):
    words = ["red", "green", "blue"]
    tied = save(tmp_path / "tied", llama(True, vocab_size=7), 0)
    word_tokenizer(words).save_pretrained(tmp_path / "tied")
    untied = save(tmp_path / "untied", llama(False, vocab_size=8), 1)
    word_tokenizer([*words, "white"]).save_pretrained(tmp_path / "untied")
    _, found = merged(tmp_path, "tied", "untied", tokenizer=Tokenizer(source="union"))
    for name in ("lm_head.weight", "model.embed_tokens.weight"):
        expected = untied[name].double()
        expected[:7] = (tied["model.embed_tokens.weight"].double() + expected[:7]) / 2
        torch.testing.assert_close(found[name].double(), expected, rtol=1e-6, atol=1e-6)
