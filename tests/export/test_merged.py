"""merge(): what goes in comes out whole, whatever the members are."""

import json

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from hf_compress import CompressionError, Member, Merge, Pruning, Quantization, merge, prune, quantize, save_compressed
from hf_compress.checkpoints.manifest import Manifest
from hf_compress.merging.configuration import Heads, LayerRange, Slice, Sparsity, Tokenizer
from hf_compress.merging.engine.rehearsal import check_merge_inputs
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.methods.passthrough import Passthrough
from hf_compress.pruning.schedules.constant import Constant
from hf_compress.quantization.schemes.presets import W4A16
from tests.tiny import tiny_bert, tiny_llama, tiny_tokenizer


def members(folder, *names):
    return [Member(str(folder / name), name=name) for name in names]


def write_llamas(folder, names="ab", change=None):
    for seed, name in enumerate(names):
        model = tiny_llama(seed)
        if change is not None:
            change(model)
        model.save_pretrained(folder / name)
        tiny_tokenizer().save_pretrained(folder / name)


def test_the_card_loads_the_model_and_says_no_more_than_differs_from_the_defaults(tmp_path):
    write_llamas(tmp_path)
    result = merge(Merge(members=members(tmp_path, "a", "b"), max_shard_size="1GB"), tmp_path / "out")
    text = (tmp_path / "out" / "README.md").read_text()
    recipe = yaml.safe_load(text.split("```yaml\n")[1].split("```")[0])
    assert recipe == {
        "job": "merge",
        "method": "linear",
        "members": [{"model": "./a", "name": "a"}, {"model": "./b", "name": "b"}],
        "max_shard_size": "1GB",
    }
    code = text.split("```python\n")[1].split("```")[0].replace("<this repository or folder>", str(result.folder))
    scope = {}
    exec(code, scope)
    assert type(scope["model"]).__name__ == "LlamaForCausalLM"
    assert "processor" in scope


def test_tokenizer_files_and_generation_config_are_carried_over(tmp_path):
    write_llamas(tmp_path)
    (tmp_path / "a" / "chat_template.jinja").write_text("{{ messages }}")
    merge(Merge(members=members(tmp_path, "a", "b")), tmp_path / "out")
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == "{{ messages }}"
    assert (tmp_path / "out" / "generation_config.json").read_text() == (
        tmp_path / "a" / "generation_config.json"
    ).read_text()


@pytest.mark.parametrize(("choice", "expected"), [("auto", "B"), ("{{ mine }}", "{{ mine }}")])
def test_a_chat_template_can_be_chosen(choice, expected, tmp_path):
    write_llamas(tmp_path, "abc")
    for name, template in (("a", "A"), ("b", "B"), ("c", "B")):
        (tmp_path / name / "chat_template.jinja").write_text(template)
    merge(Merge(members=members(tmp_path, "a", "b", "c"), chat_template=choice), tmp_path / "out")
    assert AutoTokenizer.from_pretrained(tmp_path / "out").chat_template == expected


def test_a_union_of_vocabularies_gives_every_token_its_row(tmp_path):
    write_llamas(tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "b")
    tokenizer.add_tokens(["<extra>"])
    tokenizer.save_pretrained(tmp_path / "b")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "b")
    model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model.get_input_embeddings().weight.data[len(tokenizer) - 1] = 7.0
    model.save_pretrained(tmp_path / "b")
    job = Merge(members=members(tmp_path, "a", "b"), tokenizer=Tokenizer(source="union"))
    result = merge(job, tmp_path / "out")
    merged, found = AutoModelForCausalLM.from_pretrained(tmp_path / "out"), AutoTokenizer.from_pretrained(tmp_path / "out")
    new = found.convert_tokens_to_ids("<extra>")
    assert merged.config.vocab_size == merged.get_input_embeddings().weight.shape[0] > new
    # Only b has the token: the average over those who have it is b's row.
    assert merged.get_input_embeddings().weight[new].eq(7.0).all()
    assert result.reports["vocabulary"]


def test_a_generation_config_that_cannot_be_taken_over_is_refused_before_anything_is_written(tmp_path):
    write_llamas(tmp_path)
    file = tmp_path / "a" / "generation_config.json"
    job = Merge(members=members(tmp_path, "a", "b"), tokenizer=Tokenizer(source="union", pad_to_multiple_of=7))
    for text, sentence in (("{", "is not valid JSON"), ("[]", "holds no settings")):
        file.write_text(text)
        with pytest.raises(CompressionError, match=f"generation_config.json {sentence}"):
            check_merge_inputs(job, tmp_path / "out")


@pytest.mark.parametrize("policy", [{"policy": "take", "member": "b"}, {"policy": "drop"}, {"policy": "concatenate"}])
def test_heads_with_other_labels_follow_the_rule(policy, tmp_path):
    for seed, (name, num_labels) in enumerate({"a": 2, "b": 3}.items()):
        tiny_bert(seed, num_labels=num_labels).save_pretrained(tmp_path / name)
    result = merge(Merge(members=members(tmp_path, "a", "b"), heads=Heads(**policy)), tmp_path / "out")
    stored = load_file(tmp_path / "out" / "model.safetensors")
    model, info = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", output_loading_info=True)
    b = load_file(tmp_path / "b" / "model.safetensors")["classifier.weight"]
    if policy["policy"] == "take":
        assert torch.equal(stored["classifier.weight"], b) and model.num_labels == 3
    elif policy["policy"] == "concatenate":
        assert torch.equal(model.classifier.weight[2:], b) and model.num_labels == 5
    else:
        assert "classifier.weight" not in stored and set(info["missing_keys"]) == {"classifier.weight", "classifier.bias"}
    assert result.loads.endswith("nothing missing, nothing unexpected")


def test_pruned_members_lose_zeros_and_a_policy_restores_them(tmp_path):
    half = Pruning(schedule=Constant(final=0.5))
    write_llamas(tmp_path, change=lambda model: prune(model, half))
    measured = merge(Merge(members=members(tmp_path, "a", "b")), tmp_path / "out").reports["zeros"]["tensors"]
    linears = [row for name, row in measured.items() if "proj" in name]
    assert len(linears) == 14 and all(row["a"] == row["b"] == 0.5 for row in linears)
    mean = sum(row["result"] for row in linears) / len(linears)
    assert mean == pytest.approx(0.25, abs=0.03)  # independent masks: 0.5 * 0.5
    job = Merge(members=members(tmp_path, "a", "b"), sparsity=Sparsity(policy="prune"))
    zeros = merge(job, tmp_path / "pruned").reports["zeros"]
    assert all(row["result"] == 0.5 for name, row in zeros["tensors"].items() if "proj" in name)
    assert Manifest.read(tmp_path / "pruned").facts["reports"]["zeros"] == zeros
    assert "zeros: a 0.4" in (tmp_path / "pruned" / "README.md").read_text()  # the embedding's padding row counts too


def test_quantized_members_are_unpacked_merged_and_packed_again(tmp_path):
    dense = {}
    for seed, name in enumerate("ab"):
        model = tiny_llama(seed)
        quantize(model, Quantization(scheme=W4A16(group_size=32)))
        save_compressed(model, tmp_path / name, tiny_tokenizer())
        loaded = AutoModelForCausalLM.from_pretrained(tmp_path / name)
        loaded(torch.arange(4)[None])  # unpacks
        dense[name] = loaded.state_dict()["model.layers.0.mlp.up_proj.weight"]
    result = merge(Merge(members=members(tmp_path, "a", "b")), tmp_path / "out")
    report = result.reports["requantized"]
    # Quantizing once more costs about as much as the members' own quantization did.
    assert 0 < report["relative_error"] < 2 * max(report["members_expected_error"].values())
    assert (
        f"relative_error {report['relative_error']:.4g}, members_expected_error (a 0."
        in (tmp_path / "out" / "README.md").read_text()
    )
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["quantization_config"]["quant_method"] == "compressed-tensors"
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    logits = merged(torch.arange(4)[None]).logits
    weight = merged.state_dict()["model.layers.0.mlp.up_proj.weight"]
    mean = (dense["a"].float() + dense["b"].float()) / 2
    assert 0 < (weight.float() - mean).norm() / mean.norm() < 2 * report["relative_error"] + 0.05
    assert torch.isfinite(logits).all()
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        assert json.loads(file.metadata()["hf_compress"])["inputs"] == result.inputs
    kept = merge(Merge(members=members(tmp_path, "a", "b"), quantized="dense"), tmp_path / "dense")
    assert "requantized" not in kept.reports
    assert "quantization_config" not in json.loads((tmp_path / "dense" / "config.json").read_text())


def test_a_scheme_that_cannot_be_written_again_is_refused_before_anything_is_written(tmp_path):
    for seed, name in enumerate("ab"):
        model = tiny_llama(seed)
        quantize(model, Quantization(scheme=W4A16(group_size=32)))
        save_compressed(model, tmp_path / name, tiny_tokenizer())
        file = tmp_path / name / "config.json"
        settings = json.loads(file.read_text())
        settings["quantization_config"]["config_groups"]["group_0"]["weights"]["symmetric"] = False
        file.write_text(json.dumps(settings))
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(CompressionError, match=r"the members' scheme \(4-bit int, group\) is not one of"):
        merge(Merge(members=members(tmp_path, "a", "b")), tmp_path / "out")
    assert sorted(tmp_path.rglob("*")) == before


def test_modules_that_are_not_quantized_are_stacked_as_such(tmp_path):
    model = tiny_llama()
    kept = "model.layers.{}.mlp.up_proj"
    quantize(model, Quantization(scheme=W4A16(group_size=32), ignore=("lm_head", kept.format(0))))
    save_compressed(model, tmp_path / "a", tiny_tokenizer())
    slices = [Slice(sources=[LayerRange(member="a", layers=layers)]) for layers in ((1, 2), (0, 2), (0, 1))]
    merge(Merge(method=Passthrough(), members=members(tmp_path, "a"), slices=slices), tmp_path / "out")
    names = load_file(tmp_path / "out" / "model.safetensors").keys()
    assert [f"{kept.format(layer)}.weight" in names for layer in range(4)] == [False, True, False, True]


def test_what_cannot_be_quantized_again_is_refused(tmp_path):
    for seed, name in enumerate("ab"):
        model = tiny_bert(seed)
        quantize(model, Quantization(scheme=W4A16(group_size=32), ignore=("classifier",)))
        save_compressed(model, tmp_path / name)
    with pytest.raises(CompressionError, match="would make one of random numbers; write quantized: dense"):
        merge(Merge(members=members(tmp_path, "a", "b"), heads=Heads(policy="drop")), tmp_path / "out")
    file = tmp_path / "a" / "config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "architectures": None}))
    with pytest.raises(CompressionError, match="config.json names no class of transformers in architectures"):
        merge(Merge(members=members(tmp_path, "a", "b")), tmp_path / "out")


def test_stacked_layers_make_a_deeper_model(tmp_path):
    write_llamas(tmp_path)
    slices = [Slice(sources=[LayerRange(member=name, layers=layers)]) for name, layers in (("a", (0, 2)), ("b", (1, 2)))]
    job = Merge(method=MergeMethod.create("passthrough"), members=members(tmp_path, "a", "b"), slices=tuple(slices))
    result = merge(job, tmp_path / "out")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert model.config.num_hidden_layers == 3
    a, b = (AutoModelForCausalLM.from_pretrained(tmp_path / name) for name in "ab")
    layers = [a.model.layers[0], a.model.layers[1], b.model.layers[1]]
    for own, other in zip(model.model.layers, layers, strict=True):
        assert all(torch.equal(x, y) for x, y in zip(own.parameters(), other.parameters(), strict=True))
    assert torch.equal(model.model.embed_tokens.weight, a.model.embed_tokens.weight)
    assert torch.equal(model.lm_head.weight, b.lm_head.weight)
    assert result.account.counts()["excluded"] > 0
