"""Blocks of documents with hidden tokens."""

import math

import pytest
import torch
from datasets import Dataset
from tokenizers.processors import TemplateProcessing
from torch.nn import functional
from transformers import BertForMaskedLM

from hf_compress._errors import CompressionError
from hf_compress.tasks.builtin.masked_lm import MaskedLM
from tests.tiny import tiny_bert, tiny_tokenizer


def tokenizer(mask="<mask>"):
    made = tiny_tokenizer()
    if mask is not None:
        made.add_special_tokens({"mask_token": mask})
    return made


def texts(*values):
    return dict.fromkeys(("train", "validation", "test"), Dataset.from_dict({"text": values}))


def read(made, split):
    return ["".join(made.convert_ids_to_tokens(ids)) for ids in split["input_ids"]]


def test_blocks_by_hand_are_hidden_where_they_are_measured():
    made, task = tokenizer(), MaskedLM(length=3, masked=0.9)
    examples = task.examples(texts("abc", "de"), made, [])
    assert read(made, examples["train"]) == ["abc", "</s>de"] and set(examples["train"].column_names) == {"input_ids"}
    labels = [[id for id in row if id != -100] for row in examples["test"]["labels"]]
    assert read(made, {"input_ids": labels})[0] and "</s>" not in "".join(read(made, {"input_ids": labels}))
    assert examples["test"][:] == task.examples(texts("abc", "de"), made, [])["test"][:]  # the same every time
    made.backend_tokenizer.post_processor = TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", made.bos_token_id), ("</s>", made.eos_token_id)]
    )
    assert read(made, task.examples(texts("ab", "cd"), made, [])["train"]) == ["<s>ab", "</s><s>c"]


def test_a_share_that_hides_no_token_of_an_evaluation_is_refused():
    with pytest.raises(CompressionError, match="task.masked: 1e-06 hides no token of the validation split, which has 2 bl"):
        MaskedLM(length=3, masked=1e-6).examples(texts("abc", "de"), tokenizer(), [])


def test_perplexity_is_that_of_hidden_tokens_however_they_are_batched():
    made, task, model = tokenizer(), MaskedLM(length=8, masked=0.4), tiny_bert(cls=BertForMaskedLM).eval()
    examples = task.examples(texts("the cat sat on the mat and ran", "far away from home"), made, [])["test"]
    total, count = 0.0, 0
    for row in examples:
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([row["input_ids"]])).logits[0]
        for place, label in enumerate(row["labels"]):
            if label != -100:
                total -= functional.log_softmax(logits[place], -1)[label].item()
                count += 1
    for size in (1, 4):
        measured = task.evaluate(model, examples, None, made, size, "x")
        assert measured["perplexity"] == pytest.approx(math.exp(total / count), rel=1e-5)
        assert measured["num_tokens"] == count > 10


def test_a_tokenizer_needs_a_mask_token_and_one_that_is_made_for_the_run_gets_it():
    fresh = tokenizer(None)
    MaskedLM().finish_processor(fresh, fresh=True)
    assert fresh.mask_token == "<|mask|>" and fresh.mask_token_id == len(fresh) - 1
    with pytest.raises(CompressionError, match="tokenizer: has no mask token"):
        MaskedLM().finish_processor(tokenizer(None), fresh=False)


def test_what_cannot_work_is_refused():
    for share in (0.0, 1.0):
        with pytest.raises(CompressionError, match=f"masked={share} must lie between 0 and 1"):
            MaskedLM(masked=share)
    refused = MaskedLM().refused_training({"dataloader_persistent_workers": True})
    assert refused == {"dataloader_persistent_workers": "true would hide the same tokens in every epoch; leave it out"}
    assert MaskedLM().refused_training({"dataloader_num_workers": 2, "metric_for_best_model": "loss"}) == {}
    with pytest.raises(CompressionError, match="task.length: the train split has fewer than 100 tokens"):
        MaskedLM(length=100).examples(texts("abc"), tokenizer(), [])
