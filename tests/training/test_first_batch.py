"""Data that has something to learn from, wherever its first label lies; data that has not is refused."""

import logging
import random

import numpy
import pytest
import torch
from datasets import Dataset
from torch.utils.data import IterableDataset
from transformers import BertForMaskedLM, BertForTokenClassification, DataCollatorForLanguageModeling

from hf_compress import CompressionError, CompressionTrainer
from tests.tiny import tiny_bert, tiny_llama, tiny_t5, tiny_tokenizer
from tests.training.runs import arguments, distillation, pruning, quantization, text_rows
from tests.training.test_exact_task_loss import bert

NOTHING = "no row of the training data has a label to learn from"


def classes(number, row):
    return number % 3


def tokens(number, row):
    return row


def few(number, row):
    return [token % 3 for token in row]


HEADS = {
    "Llama": (tiny_llama, tokens),
    "T5": (tiny_t5, tokens),
    "BERT one label": (lambda: tiny_bert(num_labels=3), classes),
    "BERT token classes": (lambda: bert(BertForTokenClassification, num_labels=3), few),
}
JOBS = {
    "pruning": lambda: {"pruning": pruning()},
    "quantization": lambda: {"quantization": quantization()},
    "distillation": lambda: {"distillation": distillation()},
    "an exact task loss": lambda: {"exact_task_loss": True},
}


def rows(head, masked, count=6):
    """Rows whose labels are all -100 where `masked(number)` says so."""
    made = []
    for number, row in enumerate(text_rows(count=count, length=8)["input_ids"]):
        labels = HEADS[head][1](number, row)
        if masked(number):
            labels = [-100] * len(labels) if isinstance(labels, list) else -100
        made.append({"input_ids": row, "labels": labels})
    return Dataset.from_list(made)


def trainer_of(head, data, folder, jobs, **changes):
    settings = {
        "max_steps": 4,
        "per_device_train_batch_size": 1,
        "train_sampling_strategy": "sequential",
        "logging_steps": 1,
        "save_strategy": "no",
        "logging_nan_inf_filter": False,
    }
    collator = changes.pop("data_collator", None)
    return CompressionTrainer(
        model=HEADS[head][0](),
        args=arguments(folder, **{**settings, **changes}),
        train_dataset=data,
        data_collator=collator,
        **JOBS[jobs](),
    )


@pytest.mark.parametrize("jobs", JOBS)
@pytest.mark.parametrize("head", HEADS)
def test_data_without_a_single_label_is_refused_before_the_first_step(head, jobs, tmp_path):
    with pytest.raises(CompressionError, match=f"{NOTHING}: .*-100.*6 rows.*; ") as refusal:
        trainer_of(head, rows(head, lambda number: True), tmp_path, jobs)
    assert "\n" not in str(refusal.value)


def test_a_label_that_nothing_predicts_is_none(tmp_path):
    data = Dataset.from_list([{"input_ids": [5, 6, 7], "labels": [5, -100, -100]}] * 4)
    with pytest.raises(CompressionError, match=NOTHING):
        trainer_of("Llama", data, tmp_path, "pruning")
    trainer_of("T5", data, tmp_path, "pruning")  # does not shift them away


def test_without_a_technique_the_trainer_is_the_plain_one(tmp_path):
    data = rows("Llama", lambda number: True)
    CompressionTrainer(model=tiny_llama(), args=arguments(tmp_path), train_dataset=data)


@pytest.mark.parametrize("jobs", ["pruning", "distillation", "an exact task loss"])
@pytest.mark.parametrize("head", HEADS)
def test_single_batches_without_labels_have_the_loss_0(head, jobs, tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        trainer = trainer_of(head, rows(head, lambda number: number % 2 == 0), tmp_path, jobs)
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[0] == losses[2] == 0 and min(losses[1], losses[3]) > 0.2
    assert all(parameter.isfinite().all() for parameter in trainer.model.parameters())
    # The head is judged by a batch that has labels.
    assert "its own loss" not in caplog.text and "nan" not in caplog.text


def test_one_label_in_the_last_row_is_enough(tmp_path):
    trainer = trainer_of("BERT one label", rows("BERT one label", lambda number: number < 40, 41), tmp_path, "pruning")
    assert trainer._own_loss.step is not None


def test_a_collator_that_seldom_masks_a_word_has_enough_tries(tmp_path):
    tokenizer = tiny_tokenizer()
    tokenizer.add_special_tokens({"mask_token": "<mask>"})
    collator = DataCollatorForLanguageModeling(tokenizer, mlm=True, mlm_probability=0.02, seed=0)
    CompressionTrainer(
        model=bert(BertForMaskedLM, tie_word_embeddings=False),
        args=arguments(tmp_path),
        train_dataset=Dataset.from_list([{"input_ids": list(range(5, 13))}] * 2),
        data_collator=collator,
        pruning=pruning(),
    )


def test_looking_for_labels_leaves_no_trace(tmp_path):
    class Noisy(torch.utils.data.Dataset):
        def __len__(self):
            return 8

        def __getitem__(self, index):
            row = [random.randrange(3, 60), int(numpy.random.randint(3, 60)), int(torch.randint(3, 60, ()))]
            return {"input_ids": row, "labels": row if index > 5 else [-100] * 3}

    def states(jobs):
        for seed in (random.seed, numpy.random.seed, torch.manual_seed):
            seed(1)
        CompressionTrainer(model=tiny_llama(), args=arguments(tmp_path), train_dataset=Noisy(), **jobs)
        return random.getstate(), numpy.random.get_state()[1].tolist(), torch.get_rng_state().tolist()

    assert states({}) == states({"pruning": pruning()})


class Stream(IterableDataset):
    def __init__(self, labels):
        self.labels = labels

    def __iter__(self):
        yield from [{"input_ids": [5, 6, 7], "labels": self.labels}] * 40


def test_of_a_stream_the_log_says_that_its_beginning_has_no_label(tmp_path, caplog):
    for labels, warned in (([-100] * 3, 1), ([5, 6, 7], 0)):
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            trainer_of("Llama", Stream(labels), tmp_path, "pruning").train()
        assert caplog.text.count("the first step has no label to learn from") == warned
