"""Examples for reports: what was read, what is right, what was said."""

import numpy
import pytest
import torch
from datasets import Dataset

from hf_compress.tasks.builtin.image_classification import ImageClassification
from hf_compress.tasks.builtin.sequence_classification import SequenceClassification
from hf_compress.tasks.shown import LONGEST, _text, continuations, input_text, shown_rows
from tests.tiny import tiny_llama, tiny_tokenizer

ROWS = Dataset.from_dict({"text": ["a cat", "b" * 999], "pair": ["on a mat", "c"], "label": [0, 1], "image": [None, None]})


def test_rows_are_shown_with_the_names_of_their_labels():
    task = SequenceClassification(text_pair="pair")
    first, second = shown_rows(task, ROWS, [1, 1], [0, 1], ["cold", "warm"], 5)
    assert (first.input, first.expected, first.answer) == ("a cat\non a mat", "cold", "warm")
    assert len(second.input) == LONGEST and second.input.endswith("...")
    assert shown_rows(task, ROWS, [1], [0], ["cold", "warm"], 5) == [], "a row without a prediction"
    assert input_text(ImageClassification(), ROWS[0]) == "an image"


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([1, 0, 1], "a, c"),
        ([0, 0, 0], "none"),
        (["B-PER", "O"], "B-PER O"),
        (0.123456, "0.1235"),
        ({"id": "0", "prediction_text": "Paris"}, "Paris"),
        ({"id": "0", "answers": {"text": ["Paris", "Paris", "in Paris"], "answer_start": [0, 0, 0]}}, "Paris | in Paris"),
        ({"id": "0", "answers": {"text": [], "answer_start": []}}, "no answer"),
        ("a text", "a text"),
        (7, "7"),
        (numpy.int64(1), "b"),
        (numpy.float32(0.5), "0.5"),
        (numpy.array([1, 0, 1]), "a, c"),
    ],
)
def test_every_kind_of_prediction_is_a_text(value, said):
    assert _text(value, ["a", "b", "c"]) == said


def test_a_language_model_goes_on_with_the_likeliest_token():
    model, tokenizer = tiny_llama().eval(), tiny_tokenizer()
    ids = list(range(3, 15))
    rows = [
        {"input_ids": ids, "labels": ids},
        {"input_ids": ids, "labels": [-100] * 8 + ids[8:]},
        {"input_ids": [3], "labels": [3]},
    ]
    first, second = continuations(model, Dataset.from_list(rows), tokenizer, 3, given=4, new=2)
    with torch.no_grad():
        said = []
        for _ in range(2):
            said.append(model(torch.tensor([ids[:4] + said])).logits[0, -1].argmax().item())
    assert first.input == tokenizer.decode(ids[:4]) and first.answer == tokenizer.decode(said)
    assert first.expected == tokenizer.decode(ids[4:6])
    assert second.input == tokenizer.decode(ids[:8]), "what comes before the first label"


def test_what_a_model_writes_is_what_it_writes_alone_and_ends_where_it_ends():
    """Prompts of one length go through the model together; some end before the others."""
    model, tokenizer = tiny_llama().eval(), tiny_tokenizer()
    rows = [
        {"input_ids": ids, "labels": ids} for ids in ([*range(first, first + 12 + first % 2)] for first in range(3, 14))
    ]
    rows[4] = {**rows[4], "labels": [-100] * 5 + rows[4]["labels"][5:]}

    def alone(row):
        return continuations(model, Dataset.from_list([row]), tokenizer, 1, given=4, new=6)

    whole = [said for row in rows for said in alone(row)]
    with torch.no_grad():  # the third token that is written behind the first prompt
        ids = torch.tensor([rows[0]["input_ids"][:4]])
        end = model.generate(ids, do_sample=False, max_new_tokens=3)[0, -1].item()
    for ends in (None, end, [1, end]):
        model.generation_config.eos_token_id = ends
        together = continuations(model, Dataset.from_list(rows), tokenizer, 99, given=4, new=6)
        assert together == [said for row in rows for said in alone(row)]
    assert len(together) == len(rows) and len(together[0].answer) < len(whole[0].answer)
    assert len({len(said.answer) for said in together}) > 1
