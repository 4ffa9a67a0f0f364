"""Heads that load as a task's own and have learned something else."""

import pytest

from hf_compress._problems import RecipeError
from hf_compress.inputs.sections import Data
from hf_compress.tasks.builtin.sequence_classification import SequenceClassification
from hf_compress.tasks.builtin.token_classification import TokenClassification
from hf_compress.tasks.opened import open_inputs
from tests.small import write_jsonl, write_model
from tests.tiny import tiny_bert, tiny_tokenizer


def refused(*arguments):
    with pytest.raises(RecipeError) as refusal:
        open_inputs(*arguments)
    return [(problem.path, problem.message) for problem in refusal.value.problems]


@pytest.mark.parametrize("num_labels", [2, 3])
def test_the_head_of_another_task_is_not_taken_for_its_own_where_its_tensors_are_called_alike(num_labels, tmp_path):
    folder = write_model(tmp_path / "model", tiny_bert(num_labels=num_labels))
    rows = [{"tokens": ["cat", "sat"], "labels": ["B-x", "O"]}] * 20
    words, task = Data(path=str(write_jsonl(tmp_path / "words.jsonl", rows))), TokenClassification(length=16)
    ((path, message),) = refused(str(folder), words, task)
    assert path == "model" and message.endswith(
        "model is a BertForSequenceClassification, whose head has learned another task than token_classification; name a"
        " model that was trained for it"
    )
    if num_labels == 2:
        assert open_inputs(str(folder), words, task, trained_anew=True).labels == ["B-x", "O"]
        return
    with pytest.raises(RecipeError) as refusal:  # a head of another size cannot be gone on from
        open_inputs(str(folder), words, task, trained_anew=True)
    assert str(refusal.value) == (
        f"model: {folder} is a BertForSequenceClassification for 3 labels, and token_classification needs a head for 2;"
        " save it without its head (model.base_model.save_pretrained), and a new one is made"
    )
    tiny_bert(num_labels=3).base_model.save_pretrained(tmp_path / "headless")
    tiny_tokenizer().save_pretrained(tmp_path / "headless")
    assert open_inputs(str(tmp_path / "headless"), words, task, trained_anew=True).labels == ["B-x", "O"]


def test_a_head_that_chose_one_label_is_not_taken_for_one_that_takes_several(tmp_path):
    model = tiny_bert(num_labels=2)
    model.config.problem_type = "single_label_classification"
    folder = write_model(tmp_path / "model", model)
    rows = [{"text": "cat sat", "label": [0, 1]}, {"text": "the mat", "label": [1, 0]}] * 15
    texts = Data(path=str(write_jsonl(tmp_path / "texts.jsonl", rows)))
    task = SequenceClassification(length=16, problem="multi_label")
    ((path, message),) = refused(str(folder), texts, task)
    assert path == "model" and message.endswith(
        "was trained for problem_type single_label_classification, and the task asks for multi_label_classification; name a"
        " model that was trained for it"
    )
    assert open_inputs(str(folder), texts, task, trained_anew=True).config.problem_type == "multi_label_classification"
