"""Results as the Hub reads them back."""

import math

import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

from hf_compress.checkpoints.manifest import Manifest
from hf_compress.export.card.render import render_card
from hf_compress.export.card.results import card_results, leaderboard_files

ROWS = {"num_rows": 872, "sha256": "ab12"}
DATA = {"name": "stanfordnlp/sst2", "hub": True, "config": None, "split": "validation", "whole": True, **ROWS}
REPORT = {
    "title": "t",
    "metric": "accuracy",
    "greater_is_better": True,
    "also": {"f1": True, "wer": False},
    "rows": [
        {"name": "dense", "metrics": {"accuracy": 0.9}, "file_bytes": 2},
        {
            "name": "ours",
            "metrics": {"accuracy": 0.875, "f1": 0.8, "wer": math.nan, "nll": 0.3},
            "file_bytes": 1,
            "intervals": {"accuracy": [0.85, 0.9]},
        },
    ],
    "setting": {},
}


def manifest(**data):
    facts = {"task": "sequence_classification", "base_model": "someone/model", "methods": [], "report": REPORT}
    facts["data"] = {**DATA, **data}
    return Manifest(kind="train", name="small", recipe={}, facts=facts, created="2026-01-02")


def test_the_model_index_comes_back_from_the_card_as_it_went_in():
    given = card_results(manifest(), "text-classification")
    data = ModelCard(render_card(manifest())).data
    assert data.eval_results == given and data.model_name == "small" and data.datasets == ["stanfordnlp/sst2"]
    assert [(one.metric_type, one.metric_value, one.metric_args) for one in given] == [
        ("accuracy", 0.875, {"interval": [0.85, 0.9]}),
        ("f1", 0.8, None),
    ]
    assert (given[0].dataset_type, given[0].dataset_split, given[0].dataset_args) == (DATA["name"], "validation", ROWS)


def test_rows_that_are_not_of_the_hub_name_no_data_set_of_it():
    given = manifest(name="./rows", hub=False)
    assert {(one.dataset_type, one.dataset_name) for one in card_results(given, "x")} == {("other", "rows")}
    assert ModelCard(render_card(given)).data.datasets is None
    assert card_results(given, None) == []


def test_a_leaderboard_gets_the_number_of_a_whole_split_of_the_hub_and_no_other():
    ((name, text),) = leaderboard_files(manifest()).items()
    (entry,) = parse_eval_result_entries(yaml.safe_load(text))
    assert name == ".eval_results/stanfordnlp--sst2.yaml"
    assert (entry.dataset_id, entry.task_id, entry.value, entry.date) == (DATA["name"], "default", 0.875, "2026-01-02")
    assert leaderboard_files(manifest(whole=False)) == leaderboard_files(manifest(hub=False)) == {}
