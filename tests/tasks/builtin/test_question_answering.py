"""Answers out of contexts that are longer than a window."""

import itertools

import pytest
import torch
from datasets import Dataset

from hf_compress import CompressionError, Recipe
from hf_compress._problems import RecipeError
from hf_compress.inputs.sections import Data
from hf_compress.tasks.builtin.question_answering import QuestionAnswering
from tests.small import recipe, write_jsonl
from tests.tiny import tiny_reader, tiny_tokenizer

CONTEXT = "the cat sat on the mat and the dog ran far away"


def rows(*answers, context=CONTEXT, question="who ran?"):
    return [
        {"question": question, "context": context, "answers": {"text": [text], "answer_start": [start]}}
        for text, start in answers
    ]


def splits(given):
    return dict.fromkeys(("train", "validation", "test"), Dataset.from_list(given))


def test_windows_overlap_by_the_stride_and_one_that_holds_the_answer_is_trained_on_it():
    tokenizer, task = tiny_tokenizer(), QuestionAnswering(length=24, stride=4)
    examples = task.examples(splits(rows(("dog", CONTEXT.index("dog")))), tokenizer, [])["train"]
    inside = [[place for place in window["offsets"] if place[0] >= 0] for window in examples]
    assert {tuple(place) for window in inside for place in window} == {(n, n + 1) for n in range(len(CONTEXT))}
    for before, after in itertools.pairwise(inside):
        assert before[-4:] == after[:4] and len(before) + len("who ran?") <= 24
    held = 0
    for window in examples:
        first, last = window["start_positions"], window["end_positions"]
        if [31, 32] in window["offsets"] and [33, 34] in window["offsets"]:
            held += 1
            assert (window["offsets"][first], window["offsets"][last]) == ([31, 32], [33, 34])
        else:
            assert first == last == window["nowhere"] == 0
        assert window["row"] == 0 and len(window["input_ids"]) == len(window["offsets"]) <= 24
    assert held == 1


def test_a_long_question_is_cut_and_leaves_half_of_the_window():
    task = QuestionAnswering(length=20)
    examples = task.examples(splits(rows(("cat", 4), question="x" * 50)), tiny_tokenizer(), [])["train"]
    assert next([place for place in row["offsets"] if place[0] >= 0] for row in examples) == [[n, n + 1] for n in range(10)]
    batch = task.collator(tiny_tokenizer())([examples[0], examples[len(examples) - 1]])
    assert set(batch) >= {"input_ids", "attention_mask", "start_positions", "end_positions"}
    assert not {"row", "offsets", "nowhere"} & set(batch) and batch["start_positions"].dtype == torch.int64


def test_the_windows_of_a_text_do_not_change_what_is_found_in_it():
    """A model that knows the answer by its characters: it is found whole in any window, and measured by row."""
    tokenizer = tiny_tokenizer()

    class Knows(torch.nn.Module):
        def __init__(self, word):
            super().__init__()
            self.ids = tokenizer(word)["input_ids"]

        def logits(self, ids):
            found = torch.zeros(len(ids), 2)
            for place in range(len(ids) - len(self.ids) + 1):
                if ids[place : place + len(self.ids)] == self.ids:
                    found[place, 0] = found[place + len(self.ids) - 1, 1] = 5.0
            return found.numpy()

    given = splits(rows(("dog", 31), ("mat", 19)))
    model = Knows("dog")
    for length, stride in ((24, 4), (60, None)):
        task = QuestionAnswering(length=length, stride=stride)
        examples = task.examples(given, tokenizer, [])["test"]
        measured = task.compute_metrics(examples, given["test"], tokenizer)
        assert measured.answers([model.logits(row["input_ids"]) for row in examples]) == {0: "dog", 1: "dog"}


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        (
            {"text": ["dog"], "answer_start": [30]},
            "row 1 .counted from 0. of the train split has the answer 'dog', which does not stand at character 30",
        ),
        (
            {"text": ["cow"], "answer_start": [31]},
            "row 1 .counted from 0. of the train split has the answer 'cow', which does not stand at character 31",
        ),
        (
            {"text": [], "answer_start": []},
            "row 1 .counted from 0. of the train split has no answer; remove it, or write unanswerable",
        ),
        ({"text": [" "], "answer_start": [3]}, "row 1 .counted from 0. of the train split has an empty answer"),
        ({"text": ["dog"], "answer_start": []}, "row 1 .counted from 0. of the train split has 1 texts and 0 answer_start"),
    ],
)
def test_an_answer_that_is_not_in_its_context_is_refused_with_its_row(answers, words):
    train = Dataset.from_list([*rows(("cat", 4)), {"question": "q", "context": CONTEXT, "answers": answers}])
    with pytest.raises(RecipeError, match=f"task.answers: {words}"):
        QuestionAnswering().check_data({"train": train}, Data(path="x"))
    if not answers["text"]:
        QuestionAnswering(unanswerable=True).check_data({"train": train}, Data(path="x"))


def test_a_stride_that_leaves_no_way_forward_is_refused():
    with pytest.raises(
        CompressionError, match="stride=40 must lie between 0 and 27: a long question leaves half of a window of 64"
    ):
        QuestionAnswering(length=64, stride=40)


def test_a_recipe_of_bert_finds_answers_again_in_stock_transformers(tmp_path):
    words = CONTEXT.split()
    given = [
        row for n in range(30) for row in rows((words[n % 5], CONTEXT.index(words[n % 5])), question=f"{words[n % 5]}?")
    ]
    write_jsonl(tmp_path / "train.jsonl", given)
    tiny_reader().save_pretrained(tmp_path / "bert")
    tiny_tokenizer().save_pretrained(tmp_path / "bert")
    changes = {
        "task": {"name": "question_answering", "length": 32},
        "model": str(tmp_path / "bert"),
        "pruning.ignore": ["qa_outputs"],
        "quantization.ignore": ["qa_outputs"],
        "training.eval_strategy": "steps",
        "training.metric_for_best_model": "f1",
    }
    plain = recipe(tmp_path, changes)
    del plain["tokenizer"], plain["dense"]
    result = Recipe.from_plain(plain).run()
    assert {"f1", "exact_match", "loss"} <= set(result.report.rows[-1].metrics)
    assert "windows of 32 tokens" in result.report.setting["data"]
