"""The card as huggingface_hub reads it."""

import re

import pytest
from huggingface_hub import ModelCard

from hf_compress import CompressionError
from hf_compress.checkpoints.manifest import Manifest
from hf_compress.evaluation.report import table
from hf_compress.evaluation.rows import Report, Row
from hf_compress.export.card.render import render_card
from hf_compress.recipe.yaml_text import parse_yaml

ROWS = (
    Row(name="dense", metrics={"perplexity": 20.0}, file_bytes=1000),
    Row(name="ours", metrics={"perplexity": 25.125}, file_bytes=450, quantized_ratio=0.26, sparsity=0.5),
)
REPORT = Report(title="t", metric="perplexity", greater_is_better=False, rows=ROWS, setting={"seed": 42, "data": "d: e"})
PRUNED = [{"kind": "criterion", "name": "magnitude", "reference": "Han et al. (2015), Learning both, link"}]
QUANTIZED = [*PRUNED, {"kind": "scheme", "name": "W4A16", "reference": None}]


def card(**changes):
    content = {
        "name": "a name: with a colon",
        "recipe": {"job": "train", "title": "größe", "data": {"text": "010"}},
        "base_model": "someone/model",
        "task": "causal_lm",
        "methods": QUANTIZED,
        "report": REPORT.to_plain(),
    }
    content |= changes
    common = {key: content.pop(key) for key in ("name", "recipe")}
    return render_card(Manifest(kind="train", **common, facts=content), table(REPORT))


def test_the_front_matter_by_hand():
    data = ModelCard(card()).data
    assert data.to_dict() == {
        "library_name": "transformers",
        "pipeline_tag": "text-generation",
        "base_model": "someone/model",
        "base_model_relation": "quantized",
        "tags": ["hf_compress", "W4A16", "magnitude"],
        "model-index": [
            {
                "name": "a name: with a colon",
                "results": [
                    {
                        "task": {"type": "text-generation"},
                        "dataset": {"type": "other", "name": "unnamed"},
                        "metrics": [{"type": "perplexity", "value": 25.125, "name": "perplexity"}],
                    }
                ],
            }
        ],
    }


def test_the_text_says_what_was_measured_and_done():
    text = card()
    assert "Test perplexity: 25.12, dense: 20; 0.45x the dense size on disk." in text
    assert table(REPORT) in text and "- data: d: e" in text
    assert "- criterion `magnitude` (Han et al. (2015), Learning both, link)\n- scheme `W4A16`\n" in text
    assert "It starts from `someone/model`." in text


def test_what_compression_left_is_named():
    sentence = "quantized 8 of 9 Linear, 10.7 % of the weights; left: MixtralExperts 85.5 %"
    assert f"- reach: {sentence}\n\n## Limits" in card(report={**REPORT.to_plain(), "reach": [sentence]})
    assert "reach" not in card()


def test_what_loading_asks_stands_under_the_code():
    text = card(report={**REPORT.to_plain(), "loading": "call model(...) once before generate()"})
    assert "is not needed.\nMind: call model(...) once before generate().\n\n## Serve" in text
    assert "Mind:" not in card()


@pytest.mark.parametrize("base", [None, "./model", "/data/model", "~/model"])
def test_a_base_that_is_not_on_the_hub_stays_out_of_the_front_matter(base):
    data = ModelCard(card(base_model=base)).data
    assert data.base_model is None and "base_model_relation" not in data.to_dict()
    assert ("fresh weights" in card(base_model=base)) == (base is None)


def test_pruning_alone_is_a_finetune():
    assert ModelCard(card(methods=PRUNED)).data.to_dict()["base_model_relation"] == "finetune"


@pytest.mark.parametrize("task", ["causal_lm", "sequence_classification", "image_classification"])
def test_the_code_of_the_card_is_python_with_names_that_exist(task):
    import transformers

    (code,) = re.findall(r"```python\n(.*?)```", card(task=task), flags=re.S)
    compile(code, "card", "exec")
    for name in re.findall(r"Auto\w+", code):
        assert hasattr(transformers, name)


def test_the_recipe_of_the_card_is_the_recipe():
    (recipe,) = re.findall(r"```yaml\n(.*?)```", card(), flags=re.S)
    assert parse_yaml(recipe, "card") == {"job": "train", "title": "größe", "data": {"text": "010"}}


def test_a_number_that_looks_like_text_to_other_readers_survives():
    (recipe,) = re.findall(r"```yaml\n(.*?)```", card(recipe={"rate": 1e-5, "word": "1e-5", "point": "60%"}), flags=re.S)
    assert parse_yaml(recipe, "card") == {"rate": 1e-5, "word": "1e-5", "point": "60%"}


def test_a_task_of_a_later_version_is_a_sentence():
    with pytest.raises(CompressionError, match="unknown task 'translation'"):
        card(task="translation")


def test_a_run_in_python_does_not_say_that_unknown_weights_were_fresh():
    text = card(base_model=None, task=None, classes={"model": "LlamaForCausalLM", "processor": None})
    assert "fresh weights" not in text and "A compressed model. Test perplexity" in text
