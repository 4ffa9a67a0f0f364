"""Shrunk by recipe: the weights, what lies beside them, and that it is so when it is looked at again."""

import json

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_compress import Calibration, Recipe, ShrinkPlan, choose_parts, shrink, shrink_vocabulary
from hf_compress._problems import RecipeError
from hf_compress.calibration.examples import calibration_batches
from hf_compress.checkpoints.manifest import Manifest
from hf_compress.inputs.sections import Data
from hf_compress.jobs.verify.run import verify
from hf_compress.tasks.builtin.causal_lm import CausalLM
from hf_compress.tasks.opened import open_inputs
from tests.alone import alone
from tests.command_line import tree
from tests.small import rows_of_fewer_words, text_rows, write_jsonl, write_model, write_wordy_model

TASK = {"task": {"name": "causal_lm", "length": 16}, "calibration": {"num_examples": 8}, "evaluation": {"examples": 0}}
LOADED = """
import sys
from transformers import AutoModelForCausalLM
model = AutoModelForCausalLM.from_pretrained(sys.argv[1])
assert "hf_compress" not in sys.modules
print("width", model.config.intermediate_size)
"""


@pytest.fixture
def folder(tmp_path):
    write_model(tmp_path / "model")
    write_jsonl(tmp_path / "rows.jsonl", text_rows())
    return tmp_path


def plain(folder, measured=True, **changes):
    rows = {**TASK, "data": {"path": str(folder / "rows.jsonl")}} if measured else {}
    return {
        "job": "shrink",
        "model": str(folder / "model"),
        "shrink": {"feed_forward": 32, "heads": 2, "layers": 1} if measured else {"feed_forward": 32, "heads": 2},
        "export": {"dtype": "float32"},
        "output_dir": str(folder / "out"),
        **rows,
        **changes,
    }


def test_the_result_is_what_shrink_makes_and_every_claim_of_its_card_holds(folder):
    recipe = Recipe.from_plain(plain(folder))
    result = recipe.run()
    opened = open_inputs(str(folder / "model"), Data(path=str(folder / "rows.jsonl")), CausalLM(length=16))
    batches = calibration_batches(
        opened.examples["train"], opened.task.collator(opened.processor), Calibration(num_examples=8)
    )
    wanted = ShrinkPlan(feed_forward=32, heads=2, layers=1)
    expected = shrink(opened.load_model(0), choose_parts(opened.load_model(0), wanted, batches))
    found = AutoModelForCausalLM.from_pretrained(folder / "out")
    assert found.state_dict().keys() == expected.state_dict().keys()
    for name, weight in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], weight), name
    dense, shrunk = result.report.rows
    assert (dense.name, shrunk.name) == ("dense", "shrunk") and shrunk.file_bytes < dense.file_bytes
    assert "Nothing was trained." in (folder / "out" / "report.md").read_text()
    manifest = Manifest.read(folder / "out")
    assert manifest.kind == "shrink" and manifest.facts["shrink"] == result.removal.choice.to_plain()
    card = (folder / "out" / "README.md").read_text()
    assert f"- reach: {result.removal.choice.sentence()}" in card and str(folder) not in card
    verified = verify(str(folder / "out"), str(folder / "rows.jsonl"))
    assert verified.holds, verified.summary()
    assert any(check.what == "perplexity" and check.holds for check in verified.checks)
    assert [name for name in tree(folder) if name.startswith(".out")] == []
    assert result.summary().startswith("LlamaForCausalLM with 2 layers") and "| shrunk" in result.summary()


def test_by_weights_no_rows_are_needed_and_a_process_without_this_library_loads_it(folder):
    result = Recipe.from_plain(plain(folder, measured=False)).run()
    model = AutoModelForCausalLM.from_pretrained(folder / "model")
    expected = shrink(model, ShrinkPlan(feed_forward=32, heads=2))
    found = AutoModelForCausalLM.from_pretrained(folder / "out")
    ids = torch.arange(3, 11)[None]
    assert torch.equal(found(input_ids=ids).logits, expected.eval()(input_ids=ids).logits)
    AutoTokenizer.from_pretrained(folder / "out")
    assert result.report is None and not (folder / "out" / "report.json").exists()
    card = (folder / "out" / "README.md").read_text()
    assert "**Verdict: none**: what was lost was not measured" in card and result.removal.choice.sentence() in card
    assert "from transformers import LlamaForCausalLM" in card
    assert verify(str(folder / "out")).holds
    assert "width 32\n" in alone(folder, LOADED, folder / "out")


def test_a_budget_by_recipe_is_kept_and_shown_before(folder):
    job = Recipe.from_plain(plain(folder, shrink={"parameters": "60%", "candidates": 2}))
    assert job.preview().splitlines()[1].startswith("within at most ")
    result = job.run()
    assert result.removal.choice.after.parameters <= 0.6 * result.removal.choice.before.parameters
    known = json.loads((folder / "out" / "compression.json").read_text())
    assert len(known["shrink"]["candidates"]) == 2 and known["recipe"]["shrink"]["parameters"] == "60%"


def test_rows_of_the_vocabulary_that_the_training_rows_do_not_use_go_first(folder):
    write_wordy_model(folder / "model")
    write_jsonl(folder / "rows.jsonl", rows_of_fewer_words())
    job = Recipe.from_plain(plain(folder, shrink={"vocabulary": {"keep": ["Ġhome"]}, "feed_forward": 32}))
    preview = job.preview().splitlines()
    result = job.run()
    model, tokenizer = (
        AutoModelForCausalLM.from_pretrained(folder / "model"),
        AutoTokenizer.from_pretrained(folder / "model"),
    )
    rows = [json.loads(line)["text"] for line in (folder / "rows.jsonl").read_text().splitlines()]
    small = shrink_vocabulary(model, tokenizer, rows, keep=["Ġhome"])
    removal = result.removal
    assert (
        removal.vocabulary.choice.kept == small.kept
        and preview[0] == f"{removal.vocabulary.choice}, which the training rows use"
    )
    expected = shrink(small.model, removal.choice)
    found = AutoModelForCausalLM.from_pretrained(folder / "out")
    for name, weight in expected.state_dict().items():
        assert torch.equal(found.state_dict()[name], weight), name
    assert AutoTokenizer.from_pretrained(folder / "out").get_vocab() == small.tokenizer.get_vocab()
    assert found.config.eos_token_id == AutoTokenizer.from_pretrained(folder / "out").eos_token_id
    assert any(note.startswith("dense was measured with its own vocabulary, by which") for note in result.report.notes)
    card = (folder / "out" / "README.md").read_text()
    assert all(f"- reach: {sentence}" in card for sentence in removal.sentences()) and len(removal.sentences()) == 2
    assert Manifest.read(folder / "out").facts["shrink"] == removal.to_plain()
    verified = verify(str(folder / "out"), str(folder / "rows.jsonl"))
    assert verified.holds, verified.summary()


def test_a_smaller_vocabulary_alone_loses_nothing_on_the_rows_that_it_was_made_of(folder):
    write_wordy_model(folder / "model")
    rows = [{"text": "the cat sat on the mat and the dog ran far away"}] * 40
    write_jsonl(folder / "rows.jsonl", rows)
    result = Recipe.from_plain(plain(folder, shrink={"vocabulary": {}}, calibration=None)).run()
    assert result.removal.choice is None and "chosen by" not in result.report.setting
    dense, small = result.report.rows
    # The same tokens, each with fewer others to be taken for: less than dense, by the share that the others had.
    assert dense.metrics["num_tokens"] == small.metrics["num_tokens"]
    assert small.metrics["perplexity"] < dense.metrics["perplexity"] and small.file_bytes < dense.file_bytes


@pytest.mark.parametrize(
    ("measured", "changes", "said"),
    [
        (False, {"shrink": {"layers": 1}}, "shrink.layers: layers is chosen on examples; add the section"),
        (False, {"shrink": {"macs": "50%"}}, "shrink.macs: macs is chosen on examples"),
        (False, {"calibration": {}}, "calibration: draws from training rows, and there are none; write task and data"),
        (False, {"task": "causal_lm"}, "data: is missing: `task` needs it to measure"),
        (False, {"shrink": {"heads": 3}}, "shrink: heads=3: .*legal for this llama: 2, 4"),
        (False, {"shrink": {"feed_forward": 64}}, "shrink: nothing goes: LlamaForCausalLM with 2 layers"),
        (False, {"shrink": {"parameters": "2%"}, "calibration": {}}, "calibration: draws from training rows"),
        (True, {"shrink": {"parameters": "2%"}}, "shrink: parameters=2% allows .*the smallest legal model"),
        (True, {"evaluation": {"untrained": False}}, "evaluation.untrained: this job trains nothing"),
        (
            False,
            {"shrink": {"vocabulary": {}}},
            "shrink.vocabulary: keeps what the training rows are written with, and there",
        ),
        (True, {"shrink": {"vocabulary": {"words": 3}}}, "shrink.vocabulary.words: unknown key"),
        (True, {"shrink": {"vocabulary": {}, "importance": "weights"}}, "beside the vocabulary alone"),
        (True, {"model": "./nowhere"}, "model: there is no folder ...nowhere"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_written(folder, measured, changes, said):
    with pytest.raises(RecipeError, match=said):
        raise RecipeError(Recipe.from_plain(plain(folder, measured, **changes)).preflight())
    assert not (folder / "out").exists()


def test_a_quantized_model_and_one_with_adapters_are_refused_in_a_sentence(folder):
    config = json.loads((folder / "model" / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "compressed-tensors"}
    (folder / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(RecipeError, match="is quantized already, and its weights cannot be trained; name the dense model"):
        raise RecipeError(Recipe.from_plain(plain(folder, False)).preflight())
    (folder / "model" / "config.json").rename(folder / "model" / "adapter_config.json")
    with pytest.raises(RecipeError, match="it holds an adapter and no model; merge it into its base"):
        raise RecipeError(Recipe.from_plain(plain(folder, False)).preflight())
