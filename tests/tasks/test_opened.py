"""Model, data and task of a recipe, opened in one line, every refusal at once."""

import pytest
from transformers import LlamaConfig, LlamaForSequenceClassification

from hf_compress._problems import RecipeError
from hf_compress.inputs.sections import Data, FreshModel, FreshTokenizer
from hf_compress.tasks.builtin.causal_lm import CausalLM
from hf_compress.tasks.builtin.sequence_classification import SequenceClassification
from hf_compress.tasks.opened import open_inputs
from tests.command_line import tree
from tests.small import LLAMA, text_rows, write_jsonl, write_model
from tests.tiny import tiny_bert, tiny_llama, tiny_tokenizer


@pytest.fixture
def data(tmp_path):
    return Data(path=str(write_jsonl(tmp_path / "train.jsonl", text_rows())))


def refused(*arguments, **options):
    with pytest.raises(RecipeError) as refusal:
        open_inputs(*arguments, **options)
    return [(problem.path, problem.message) for problem in refusal.value.problems]


def test_a_trained_model_is_opened_with_its_processor_labels_and_examples(data, tmp_path):
    folder = write_model(tmp_path / "bert", tiny_bert(num_labels=2))
    before = tree(tmp_path)
    opened = open_inputs(str(folder), data, SequenceClassification(label="name", length=16))
    assert opened.labels == ["cold", "warm"] and opened.config.label2id == {"cold": 0, "warm": 1}
    assert opened.processor.get_vocab() == tiny_tokenizer().get_vocab()
    assert {parameter.device.type for parameter in opened.skeleton.parameters()} == {"meta"}
    assert set(opened.examples) == {"train", "validation", "test"} and set(opened.examples["train"]["labels"]) == {0, 1}
    assert tree(tmp_path) == before


def test_fresh_weights_get_the_trained_tokenizers_vocabulary(data):
    model, tokenizer = FreshModel(config=LLAMA), FreshTokenizer(vocab_size=300)
    full = open_inputs(model, data, CausalLM(length=16), tokenizer)
    assert full.config.vocab_size == len(full.processor) == 300


def test_a_tokenizer_that_was_saved_is_used_again(data, tmp_path):
    tiny_tokenizer().save_pretrained(tmp_path / "saved")
    options = {"saved_tokenizer": tmp_path / "saved"}
    opened = open_inputs(FreshModel(config=LLAMA), data, CausalLM(length=16), FreshTokenizer(vocab_size=300), **options)
    assert opened.config.vocab_size == len(tiny_tokenizer())


def test_everything_that_is_wrong_is_in_one_refusal(data, tmp_path):
    folder = write_model(tmp_path / "model", tiny_llama(vocab_size=20))
    task = SequenceClassification(text="txt", label="lable", length=65)
    assert [path for path, _ in refused(str(folder), data, task)] == [
        "task.text",
        "task.label",
        "task.length",
        "tokenizer",
        "model",  # it has no classifier
    ]
    nowhere = Data(path=str(tmp_path / "nowhere.jsonl"))
    assert [path for path, _ in refused("./nothing", nowhere, CausalLM(), "./no-tokenizer")] == [
        "data.path",
        "model",
        "tokenizer",
    ]


def test_what_is_known_is_opened_where_the_rest_was_refused_elsewhere(data, tmp_path):
    nowhere = Data(path=str(tmp_path / "nowhere.jsonl"))
    assert [path for path, _ in refused(None, nowhere, CausalLM())] == ["data.path"]
    assert [path for path, _ in refused("./nothing", None, None)] == ["model"]
    assert open_inputs(None, data, None).labels == []  # without a task, columns are not looked at


def test_a_new_head_is_refused_unless_it_is_trained_first(data, tmp_path):
    folder = write_model(tmp_path / "model")
    task = SequenceClassification(length=16)
    ((path, message),) = refused(str(folder), data, task)
    assert path == "model" and message.endswith(
        "model has no score.weight (1 tensors are missing), so it was not trained for sequence_classification; name a model"
        " that was"
    )
    assert open_inputs(str(folder), data, task, trained_anew=True).labels == ["LABEL_0", "LABEL_1"]
    own = "dense: {task} has no head: {tensor} ({number})"
    ((path, message),) = refused(str(folder), data, task, untrained=own)
    assert (path, message) == ("dense", "sequence_classification has no head: score.weight (1)")


def test_problems_are_added_to_a_list_and_what_could_be_opened_comes_back(data):
    problems = []
    opened = open_inputs("./nothing", data, CausalLM(length=16), problems=problems)
    assert [problem.path for problem in problems] == ["model"]
    assert set(opened.raw) == {"train", "validation", "test"} and opened.base is None and opened.examples == {}


def test_a_decoders_classifier_learns_which_token_pads(data, tmp_path):
    config = LlamaConfig(**{**tiny_llama().config.to_dict(), "pad_token_id": None, "num_labels": 2})
    folder = write_model(tmp_path / "model", LlamaForSequenceClassification(config))
    opened = open_inputs(str(folder), data, SequenceClassification(length=16))
    assert opened.config.pad_token_id == opened.processor.pad_token_id
