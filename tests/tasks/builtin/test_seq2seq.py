"""A text for a text."""

import pytest
import sacrebleu
import torch
from datasets import Dataset, List, Value
from transformers import EvalPrediction, MBartTokenizer, NllbTokenizer

from hf_compress import Rouge
from hf_compress._errors import CompressionError
from hf_compress._problems import RecipeError
from hf_compress.inputs.fresh import train_tokenizer
from hf_compress.inputs.models import load_config
from hf_compress.inputs.sections import Data, FreshModel, FreshTokenizer
from hf_compress.tasks.builtin.seq2seq import Seq2Seq
from tests.tiny import tiny_bart, tiny_t5, tiny_tokenizer

DATA = Data(path="here")
SOURCES = ("a cat", "the dogs ran", "it is far", "no", "trees and more trees")


def splits_of(targets, sources=SOURCES):
    return dict.fromkeys(("train", "validation", "test"), Dataset.from_dict({"source": list(sources), "target": targets}))


def examples_of(task, targets, tokenizer=None):
    return task.examples(splits_of(targets), tiny_tokenizer() if tokenizer is None else tokenizer, [])


def test_targets_end_with_the_end_token_and_what_is_cut_is_counted():
    task, tokenizer = Seq2Seq(source_length=12, target_length=5, prefix="to b: "), tiny_tokenizer()
    splits = splits_of(["x", "abcd", "abcde", "y", "z"])
    examples = task.examples(splits, tokenizer, [])
    first, second, third = (examples["train"][row] for row in range(3))
    assert tokenizer.decode(first["input_ids"]).replace(" ", "") == "tob:acat" and first["attention_mask"] == [1] * 11
    assert [tokenizer.convert_ids_to_tokens(row["labels"]) for row in (first, second, third)] == [
        ["x", "</s>"],
        ["a", "b", "c", "d", "</s>"],
        ["a", "b", "c", "d", "</s>"],
    ]
    assert task.describe_examples(splits, examples) == {
        "sources cut at 12 tokens": "3 of 5 train rows, 3 of 5 validation rows, 3 of 5 test rows",
        "targets cut at 5 tokens": "1 of 5 train rows, 1 of 5 validation rows, 1 of 5 test rows",
    }
    whole = Seq2Seq()
    facts = whole.describe_examples(splits, whole.examples(splits, tokenizer, []))
    assert facts == {"sources cut at 512 tokens": "none", "targets cut at 128 tokens": "none"}


def test_a_batch_is_padded_on_the_right_and_labels_by_themselves():
    tokenizer = tiny_tokenizer()
    tokenizer.padding_side = "left"
    task = Seq2Seq()
    examples = examples_of(task, ["x", "abcd", "ab", "y", "z"], tokenizer)["train"]
    batch = task.collator(tokenizer)([examples[0], examples[1]])
    assert batch["input_ids"].shape == (2, 12) and batch["attention_mask"].sum(-1).tolist() == [5, 12]
    assert batch["labels"][0].tolist() == [*examples[0]["labels"], -100, -100, -100]
    assert set(batch) == {"input_ids", "attention_mask", "labels"} and tokenizer.padding_side == "left"


@pytest.mark.parametrize("num_beams", [None, 3])
def test_what_is_measured_is_generated_alone_and_compared_with_the_raw_targets(num_beams):
    task, tokenizer, model = Seq2Seq(target_length=6, num_beams=num_beams), tiny_tokenizer(), tiny_t5(seed=2).eval()
    targets = ["Xx xx longer than six", "abcd", "ab", "yx", "zz"]  # raw, and longer than what is trained on
    splits = splits_of(targets)
    examples = task.examples(splits, tokenizer, [])["test"]
    written, nats, count = [], 0.0, 0
    for row in examples:
        ids, labels = torch.tensor([row["input_ids"]]), torch.tensor([row["labels"]])
        made = model.generate(input_ids=ids, max_length=7, num_beams=num_beams or 1)
        written.append(tokenizer.decode(made[0], skip_special_tokens=True).strip())
        with torch.no_grad():
            logits = model(input_ids=ids, labels=labels).logits[0]
        nats -= float(torch.log_softmax(logits, -1)[torch.arange(labels.shape[1]), labels[0]].sum())
        count += labels.shape[1]
    for size in (1, 2, 5):
        measured = task.evaluate(model, examples, splits["test"], tokenizer, size, "x")
        assert measured["chrf"] == pytest.approx(sacrebleu.corpus_chrf(written, [targets]).score)
        assert measured["bleu"] == pytest.approx(sacrebleu.corpus_bleu(written, [targets], force=True).score)
        assert measured["nll"] == pytest.approx(nats / count, rel=1e-5) and set(measured) == {"bleu", "chrf", "nll"}
    assert any(written)


def test_every_target_of_a_row_counts_the_first_is_trained_on_and_other_metrics_are_asked():
    targets = [["a b c d", "the cat is in"], ["x y z"], ["u", "v"], ["w"], ["the end"]]
    task, tokenizer = Seq2Seq(), train_tokenizer(FreshTokenizer(vocab_size=300), SOURCES)
    assert [[column.key for column in task.columns()], task.metric] == [["source", "target"], "bleu"]
    task.check_data(splits_of(targets), DATA)
    examples = task.examples(splits_of(targets), tokenizer, [])["test"]
    assert tokenizer.decode(examples[0]["labels"], skip_special_tokens=True) == "a b c d"
    assert list(task.texts(splits_of(targets)["train"]))[5:8] == ["a b c d", "the cat is in", "x y z"]
    right = ["the cat is in", "x y z", "v", "w", "the end"]
    ids = [[-100 if id == 0 else id for id in row] for row in tokenizer(right, padding=True)["input_ids"]]
    metrics = task.compute_metrics(examples, splits_of(targets)["test"], tokenizer, [Rouge()])
    found = metrics(EvalPrediction(torch.tensor(ids).numpy(), None))
    assert found["bleu"] == pytest.approx(100) and found["chrf"] == pytest.approx(100) and found["rougeL"] == 1
    halves = [torch.tensor(ids[:2]).numpy(), torch.tensor(ids[2:]).numpy()]
    assert metrics(EvalPrediction(halves, [None, None])) == found
    assert metrics(EvalPrediction(halves[0], None), compute_result=False) == {}
    assert metrics(EvalPrediction(halves[1], None), compute_result=True) == found


def test_empty_sources_and_targets_are_refused_by_their_rows_together():
    splits = splits_of(["a", " ", "b", "", "c"], ["x", "y", "", "z", "u"])
    with pytest.raises(RecipeError) as refusal:
        Seq2Seq().check_data({"train": splits["train"]}, DATA)
    assert {problem.path: problem.message for problem in refusal.value.problems} == {
        "task.source": "row 2 (counted from 0) of the train split has an empty source; remove it",
        "task.target": "row 1 (counted from 0) of the train split has an empty target (and 1 more such row); remove it",
    }
    rows = Dataset.from_dict({"source": ["x", "y"], "target": [["a"], []]}).cast_column("target", List(Value("string")))
    with pytest.raises(CompressionError, match="task.target: row 1 .counted from 0. of the test split has an empty target"):
        Seq2Seq().check_data({"test": rows}, DATA)


def test_texts_longer_than_the_models_positions_are_refused_together():
    with pytest.raises(
        CompressionError, match="task.source_length: 512 tokens are more than the model's 64 positions"
    ) as r:
        Seq2Seq().check_model(tiny_bart())
    assert "task.target_length: 128 tokens are more than the model's 64 positions" in str(r.value)
    Seq2Seq().check_model(tiny_t5())  # which counts distances
    for options, words in (({"source_length": 0}, "source_length=0"), ({"target_length": 1}, "target_length=1 must be 2")):
        with pytest.raises(CompressionError, match=words):
            Seq2Seq(**options)


def test_evaluations_and_reports_generate_alike():
    task = Seq2Seq(target_length=9, num_beams=2)
    assert task.training_defaults == {
        "predict_with_generate": True,
        "generation_max_length": 10,
        "generation_num_beams": 2,
    }
    refused = task.refused_training({"predict_with_generate": False, "generation_max_length": 7, "generation_num_beams": 3})
    assert refused["predict_with_generate"] == "false would measure texts that nobody wrote; leave it out"
    assert "target_length: 7}" in refused["generation_max_length"] and "num_beams: 3}" in refused["generation_num_beams"]
    assert task.refused_training({"predict_with_generate": True, "label_smoothing_factor": 0.0}) == {}
    assert "makes its decoder's inputs" in task.refused_training({"label_smoothing_factor": 0.1})["label_smoothing_factor"]


@pytest.mark.parametrize("kind", ["t5", "bart", "marian", "mbart"])
def test_a_fresh_model_begins_and_ends_with_tokens_of_the_tokenizer(kind):
    model, tokenizer, task = FreshModel(config={"model_type": kind}), tiny_tokenizer(), Seq2Seq()
    config = load_config(model, task.config_changes(model, load_config(model, {}), tokenizer, None))
    assert (config.vocab_size, config.pad_token_id, config.decoder_start_token_id, config.eos_token_id) == (
        *(len(tokenizer), 0, 0, 2),
    )
    assert getattr(config, "forced_eos_token_id", 2) == 2
    assert task.config_changes("a/model", config, tokenizer, None) == {}


def multilingual(cls):
    vocabulary = {"<s>": 0, "<pad>": 1, "</s>": 2, "<unk>": 3, "▁": 4, "a": 5, "b": 6}
    if cls is MBartTokenizer:
        return cls(vocab=[(token, 0.0) for token in vocabulary])
    return cls(vocab=vocabulary, merges=[])


@pytest.mark.parametrize(
    ("cls", "languages", "setting"),
    [
        (NllbTokenizer, ("eng_Latn", "deu_Latn"), "forced_bos_token_id"),
        (MBartTokenizer, ("en_XX", "de_DE"), "decoder_start_token_id"),
    ],
)
def test_a_tokenizer_of_several_languages_is_told_which_and_the_model_begins_with_the_targets(cls, languages, setting):
    task, tokenizer, model = Seq2Seq(src_lang=languages[0], tgt_lang=languages[1]), multilingual(cls), tiny_bart()
    task.finish_processor(tokenizer, fresh=False)
    examples = examples_of(task, ["a", "b", "a", "b", "a"], tokenizer)["train"]
    source, target = tokenizer.convert_tokens_to_ids(list(languages))
    assert source in examples[0]["input_ids"] and target not in examples[0]["input_ids"]
    assert target in examples[0]["labels"] and 2 in examples[0]["labels"] and 3 not in (source, target)
    task.finish_model(model, tokenizer)
    assert getattr(model.generation_config, setting) == target
    with pytest.raises(CompressionError, match=f"task.src_lang: {cls.__name__} knows no language 'klingon'"):
        Seq2Seq(src_lang="klingon", tgt_lang=languages[1]).finish_processor(tokenizer, fresh=False)
    with pytest.raises(CompressionError, match=f"task.tgt_lang: {cls.__name__} knows several languages; name that of the"):
        Seq2Seq().finish_processor(multilingual(cls), fresh=False)


def test_languages_for_a_tokenizer_without_and_tokenizers_without_an_end_are_refused():
    with pytest.raises(CompressionError, match="task.tgt_lang: .* knows no languages; leave out tgt_lang"):
        Seq2Seq(tgt_lang="de").finish_processor(tiny_tokenizer(), fresh=False)
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = None
    with pytest.raises(CompressionError, match="has no token for the end of a text"):
        Seq2Seq().check_config(tiny_t5().config, tokenizer)


def test_what_a_model_writes_by_itself_is_as_long_as_what_it_learned():
    model = tiny_t5()
    Seq2Seq(target_length=9).finish_model(model, tiny_tokenizer())
    assert model.generation_config.max_length == 10
    Seq2Seq(target_length=30).finish_model(model, tiny_tokenizer())
    assert model.generation_config.max_length == 10
