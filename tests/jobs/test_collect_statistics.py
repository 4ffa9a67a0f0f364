"""Statistics by recipe, and a merge that uses them."""

import torch
from safetensors.torch import load_file
from transformers import AutoModelForSequenceClassification, BertForMaskedLM, LlamaForSequenceClassification

from hf_compress._yaml import write_yaml
from tests.small import text_rows, write_jsonl
from tests.tiny import tiny_bert, tiny_llama, tiny_tokenizer


def run(call, folder, data, command="run"):
    file = folder / "recipe.yaml"
    file.write_text(write_yaml(data))
    return call(command, file)


def recipe(folder, name, **changes):
    return {
        "job": "collect-statistics",
        "model": str(folder / name),
        "task": {"name": "sequence_classification", "length": 16},
        "data": {"path": str(folder / "train.jsonl"), "max_train": 12},
        "statistics": ["fisher", "gram"],
        "output_dir": str(folder / f"{name}-statistics"),
        **changes,
    }


def write(folder):
    write_jsonl(folder / "train.jsonl", text_rows())
    for seed, name in enumerate("ab"):
        tiny_bert(seed, num_labels=2).save_pretrained(folder / name)
        tiny_tokenizer().save_pretrained(folder / name)


def test_fisher_by_recipe_weighs_the_members_of_a_merge(tmp_path, call):
    write(tmp_path)
    for name in "ab":
        code, out, complaints = run(call, tmp_path, recipe(tmp_path, name))
        assert (code, complaints) == (0, []) and f"fisher: {tmp_path / f'{name}-statistics' / 'fisher'}" in out
    members = [
        {"model": str(tmp_path / name), "statistics": {"fisher": str(tmp_path / f"{name}-statistics" / "fisher")}}
        for name in "ab"
    ]
    merge = {"job": "merge", "method": "fisher", "members": members, "output_dir": str(tmp_path / "out")}
    code, out, complaints = run(call, tmp_path, merge)
    assert (code, complaints) == (0, [])
    a, b, out = (load_file(tmp_path / name / "model.safetensors") for name in ("a", "b", "out"))
    first, second = (load_file(tmp_path / f"{name}-statistics" / "fisher" / "model.safetensors") for name in "ab")
    name = "bert.encoder.layer.0.output.dense.weight"
    weights = first[name].double(), second[name].double()
    expected = (weights[0] * a[name] + weights[1] * b[name]) / (weights[0] + weights[1])
    known = weights[0] + weights[1] > 1e-12
    assert known.float().mean() > 0.9
    torch.testing.assert_close(out[name].double()[known], expected[known], rtol=1e-4, atol=1e-5)
    AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")


def test_statistics_come_in_one_pass_and_a_statistics_own_labels_win(tmp_path, call):
    write(tmp_path)
    wanted = {
        "of the job": {"statistics": ["fisher", "gram", "input_norm"], "labels": "true"},
        "its own": {"statistics": [{"name": "fisher", "labels": "true"}], "labels": "sampled"},
        "another": {"statistics": ["fisher"], "labels": "sampled"},
    }
    fishers = {}
    for name, changes in wanted.items():
        code, _, complaints = run(call, tmp_path, recipe(tmp_path, "a", output_dir=str(tmp_path / name), **changes))
        assert (code, complaints) == (0, []), name
        assert sorted(path.name for path in (tmp_path / name).iterdir()) == sorted(
            one if isinstance(one, str) else one["name"] for one in changes["statistics"]
        )
        fishers[name] = load_file(tmp_path / name / "fisher" / "model.safetensors")["classifier.weight"]
    assert torch.equal(fishers["of the job"], fishers["its own"])
    assert not torch.equal(fishers["another"], fishers["its own"])


def test_what_is_missing_is_said_before_anything_is_read(tmp_path, call):
    write(tmp_path)
    merge = {"job": "merge", "method": "fisher", "members": [{"model": str(tmp_path / n)} for n in "ab"], "output_dir": "x"}
    code, _, complaints = run(call, tmp_path, merge)
    assert code == 2
    assert [line.split(",")[0] for line in complaints] == [f"members.{n}.statistics: fisher is missing" for n in (0, 1)]
    merge["method"] = "linear"
    merge["members"][0]["statistics"] = {"fisher": str(tmp_path / "a")}
    assert "unknown members.0.statistics: statistic of linear 'fisher'" in run(call, tmp_path, merge)[2][0]


def test_bad_recipes_end_with_one_sentence(tmp_path, call):
    write(tmp_path)
    small = LlamaForSequenceClassification(tiny_llama(vocab_size=20).config)
    for name, model in (("small", small), ("encoder", BertForMaskedLM(tiny_bert().config))):
        model.save_pretrained(tmp_path / name)
        tiny_tokenizer().save_pretrained(tmp_path / name)
    for changes, sentence in (
        ({"model": str(tmp_path / "nowhere")}, "model: there is no folder"),
        ({"statistics": []}, "statistics is empty; name one or more of fisher, gradient, "),
        ({"statistics": ["gramm"]}, "statistics.0: unknown statistic 'gramm'; did you mean 'gram'?"),
        (
            {"statistics": ["fisher", {"name": "fisher", "labels": "true"}]},
            "the statistic fisher is named twice with different settings; keep one",
        ),
        ({"statistics": ["gram"], "labels": "true"}, "labels='true' is for statistics of gradients, and gram has none"),
        (
            {"task": "causal_lm", "statistics": [{"name": "fisher", "labels": "expected"}]},
            "labels='expected' sums over classes",
        ),
        ({"output_dir": str(tmp_path / "a")}, "output_dir: "),
        ({"task": {"name": "causal_lm", "length": 16}, "labels": "expected"}, "labels='expected' sums over classes"),
        ({"data": {"path": str(tmp_path / "no.jsonl")}}, "data.path: there is no file or folder"),
        (
            {"task": {"name": "sequence_classification", "length": 65}},
            "task.length: 65 tokens are more than the model's 64",
        ),
        ({"model": str(tmp_path / "small")}, f"tokenizer: it has {len(tiny_tokenizer())} entries and the model only 20"),
        (
            {"model": str(tmp_path / "encoder"), "task": {"name": "causal_lm", "length": 16}},
            "model: bert is an encoder that sees the tokens",
        ),
    ):
        for command in ("run", "check"):
            code, _, complaints = run(call, tmp_path, recipe(tmp_path, "a", **changes), command)
            assert code == 2 and complaints[0].startswith(sentence), (sentence, complaints)


def test_three_mistakes_come_in_one_go(tmp_path, call):
    wrong = {"model": str(tmp_path / "nowhere"), "data": {"path": str(tmp_path / "no.jsonl")}, "batch_size": 0}
    expected = ["batch_size=0 must be 1 or more", "data.path: there is no file or folder", "model: there is no folder"]
    for command in ("run", "check"):
        code, out, complaints = run(call, tmp_path, recipe(tmp_path, "a", **wrong), command)
        assert (code, out, len(complaints)) == (2, "", 3)
        assert all(any(line.startswith(start) for line in complaints) for start in expected), complaints
