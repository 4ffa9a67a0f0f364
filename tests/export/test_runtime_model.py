"""An exported program where a model is expected, with a graph that says what it was given."""

from types import SimpleNamespace

import pytest
import torch
from transformers import BertForSequenceClassification
from transformers.utils.generic import ModelOutput

from hf_compress import CompressionError
from hf_compress.export.runtime_model import runtime_model
from tests.tiny import tiny_bert

IDS = torch.tensor([[5, 6, 7]])


class Graph:
    def __init__(self, *names):
        self.config = tiny_bert().config
        self.components = {"model": SimpleNamespace(metadata=SimpleNamespace(kwargs=names))}

    def __call__(self, **inputs):
        self.given = inputs
        return ModelOutput(logits=torch.zeros(1, 3))


def test_what_is_not_given_is_what_a_model_takes_it_for():
    graph = Graph("input_ids", "attention_mask", "token_type_ids")
    runtime_model(graph, BertForSequenceClassification)(input_ids=IDS)
    assert graph.given["attention_mask"].tolist() == [[1, 1, 1]] and graph.given["token_type_ids"].tolist() == [[0, 0, 0]]


def test_what_says_nothing_is_left_out():
    graph = Graph("input_ids")
    ones = torch.ones_like(IDS)
    runtime_model(graph, BertForSequenceClassification)(input_ids=IDS, attention_mask=ones, token_type_ids=0 * ones)
    assert set(graph.given) == {"input_ids"}


@pytest.mark.parametrize(("name", "usual"), [("token_type_ids", 0), ("attention_mask", 1)])
def test_what_says_something_and_is_not_known_is_refused(name, usual):
    model = runtime_model(Graph("input_ids"), BertForSequenceClassification)
    with pytest.raises(CompressionError, match=f"takes no {name}, and in this batch they are not all {usual}"):
        model(input_ids=IDS, **{name: torch.tensor([[0, 0, 1]])})
