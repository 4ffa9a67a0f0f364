"""Files of mergekit-multi: several merges, each of models and of earlier results."""

import shutil

import pytest
import torch
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

from hf_compress import CompressionError, Linear, Member, Merge, Slerp, merge
from hf_compress.jobs.merge.stages import MergeStages, load_any_merge
from tests.checkpoints.test_tied import TEXT

FIRST = "name: first\nmerge_method: linear\nparameters: {weight: 0.5}\nmodels: [{model: a}, {model: b}]\n"
LAST = "merge_method: slerp\nbase_model: a\nmodels: [{model: first}]\nparameters: {t: 0.5}\n"


@pytest.fixture
def models(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for seed, name in enumerate(("a", "b")):
        torch.manual_seed(seed)
        LlamaForCausalLM(LlamaConfig(**TEXT)).save_pretrained(name)
    return tmp_path


def load(models, text, out="out"):
    (models / "multi.yml").write_text(text)
    return load_any_merge(models / "multi.yml", models / out)


@pytest.mark.parametrize("text", [FIRST + "---\n" + LAST, LAST + "---\n" + FIRST], ids=["in order", "reversed"])
def test_stages_run_in_the_order_they_need_one_another(text, models):
    job = load(models, text)
    assert isinstance(job, MergeStages) and job.preflight() == []
    result = job.run(threads=1)
    assert [stage.folder.name for stage in result.results] == ["first", "out"]
    merge(Merge(method=Linear(), members=[Member("a", weight=0.5), Member("b", weight=0.5)], compat="mergekit"), "one")
    merge(Merge(method=Slerp(t=0.5), base="a", members=[Member("one")], compat="mergekit"), "two")
    found = load_file("out/model.safetensors")
    for name, tensor in load_file("two/model.safetensors").items():
        torch.testing.assert_close(found[name], tensor, rtol=0, atol=0)  # the same operations in the same order
    assert "loads as LlamaForCausalLM" in result.summary()


def test_where_all_are_named_the_results_lie_in_the_folder(models):
    load(models, FIRST + "---\nname: second\n" + LAST).run(threads=1)
    assert sorted(folder.name for folder in (models / "out").iterdir()) == ["first", "second"]


def test_a_stage_that_is_there_is_kept_and_one_from_other_inputs_is_refused(models):
    text = FIRST + "---\n" + LAST
    load(models, text).run(threads=1)
    stage = models / "out-stages" / "first" / "model.safetensors"
    written = stage.stat().st_mtime_ns
    shutil.rmtree(models / "out")
    again = load(models, text)
    assert again.preflight() == []
    result = again.run(threads=1)
    assert result.kept == ("first",) and stage.stat().st_mtime_ns == written
    assert "first: there already" in result.summary()
    shutil.rmtree(models / "out")
    for changed in (text.replace("0.5", "0.25"), text):
        if changed == text:
            LlamaForCausalLM(LlamaConfig(**TEXT)).save_pretrained("b")
        with pytest.raises(CompressionError, match="out-stages/first is there, and not what first makes of its inputs now"):
            load(models, changed).run(threads=1)
        assert any("is there, and not what first makes" in str(each) for each in load(models, changed).preflight())


def test_mistakes_are_named_before_anything_is_merged(models):
    for text, sentence in (
        (FIRST + "---\n" + FIRST, "line 6: two documents are called 'first'"),
        (LAST + "---\n" + LAST, "line 6: two documents have no name; name all but one"),
        (FIRST.replace("model: a", "model: first") + "---\n" + LAST, "line 1: first needs first, which needs it in turn"),
        (FIRST.replace("name: first", "name: a/b") + "---\n" + LAST, "line 1: name 'a/b' is not the name of a folder"),
        (FIRST + "---\n" + LAST.replace("slerp", "slrp"), "line 6: unknown merge_method 'slrp'"),
    ):
        with pytest.raises(CompressionError) as caught:
            load(models, text)
        assert sentence in str(caught.value)
    with pytest.raises(CompressionError) as caught:
        load(models, FIRST.replace("linear", "linar") + "---\n" + LAST.replace("slerp", "slrp"))
    assert [line.split(": unknown")[0].rpartition(" ")[2] for line in str(caught.value).splitlines()] == ["2", "6"]
    problems = load(
        models, FIRST.replace("model: b", "model: ./c") + "---\n" + LAST.replace("base_model: a", "base_model: ./d")
    )
    assert [str(each) for each in problems.preflight()] == [
        "./c: there is no folder './c'; name a folder written by save_pretrained, or a Hub id",
        "base: there is no folder './d'; name a folder written by save_pretrained, or a Hub id",
    ]
    assert not (models / "out-stages").exists()
    with pytest.raises(CompressionError, match="edit the file"):
        load_any_merge(models / "multi.yml", models / "out", ["parameters.t=1"])


def test_a_file_of_mergekit_moe_is_called_one(models):
    text = "base_model: a\ngate_mode: hidden\nexperts: [{source_model: a, positive_prompts: [x]}]\n"
    with pytest.raises(CompressionError, match=r"^[^\n]*this is a mergekit-moe file \(experts\)[^\n]*$"):
        load(models, text)
