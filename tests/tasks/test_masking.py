"""What is hidden of a row depends on the row, the seed and the epoch alone."""

from types import SimpleNamespace

import torch
from datasets import Dataset
from transformers import BertForMaskedLM, TrainerCallback, TrainingArguments

from hf_compress import CompressionTrainer
from hf_compress.tasks.masking import MaskRows
from tests.tiny import tiny_bert, tiny_tokenizer


def tokenizer():
    made = tiny_tokenizer()
    made.add_special_tokens({"mask_token": "<mask>"})
    return made


def rows(number=6, length=32):
    generator = torch.Generator().manual_seed(0)
    return [{"input_ids": torch.randint(4, 59, (length,), generator=generator).tolist()} for _ in range(number)]


def at_epoch(masks, epoch, seed=0):
    masks.on_epoch_begin(SimpleNamespace(seed=seed), SimpleNamespace(epoch=float(epoch)), None)
    return masks


def hidden(masks, given):
    batch = masks(given)
    return batch["input_ids"].tolist(), batch["labels"].tolist()


def test_neither_order_nor_batches_nor_what_was_drawn_before_matter():
    masks, given = MaskRows(tokenizer(), 0.3), rows()
    together = hidden(masks, given)
    torch.manual_seed(1)
    for place in (3, 0, 5):
        ids, labels = hidden(masks, [given[place]])
        assert (ids[0], labels[0]) == (together[0][place], together[1][place])
    assert hidden(at_epoch(MaskRows(tokenizer(), 0.3), 0), given) == together


def test_every_epoch_and_every_seed_hide_other_tokens():
    given = rows()
    draws = [hidden(at_epoch(MaskRows(tokenizer(), 0.3), *key), given)[1] for key in ((0, 0), (1, 0), (2, 0), (0, 1))]
    assert all(a != b for place, a in enumerate(draws) for b in draws[:place])


def test_hidden_tokens_are_the_labels_and_the_library_decides_what_becomes_of_them():
    masks, given = MaskRows(tokenizer(), 0.15), rows(200, 64)
    batch, before = masks(given), torch.tensor([row["input_ids"] for row in given])
    predicted = batch["labels"] != -100
    assert torch.equal(batch["labels"][predicted], before[predicted])
    assert torch.equal(batch["input_ids"][~predicted], before[~predicted])
    assert abs(predicted.float().mean() - 0.15) < 0.01
    now, was = batch["input_ids"][predicted], before[predicted]
    shares = [(now == masks._library.tokenizer.mask_token_id).float().mean(), (now == was).float().mean()]
    assert abs(shares[0] - 0.8) < 0.03 and abs(shares[1] - 0.1) < 0.03


def test_special_tokens_stay_and_rows_with_labels_are_padded_alone():
    masks = MaskRows(tokenizer(), 0.99)
    (ids,), (labels,) = hidden(masks, [{"input_ids": [1, 10, 11, 2]}])
    assert (ids[0], ids[3], labels[0], labels[3]) == (1, 2, -100, -100) and labels[1:3] == [10, 11]
    measured = [{"input_ids": [58, 5], "labels": [4, -100]}, {"input_ids": [5], "labels": [-100]}]
    batch = masks(measured)
    assert batch["input_ids"].tolist() == [[58, 5], [5, 0]] and batch["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert batch["labels"].tolist() == [[4, -100], [-100, -100]]


class _StopAt(TrainerCallback):
    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        control.should_training_stop = state.global_step == self.step


def trained(folder, *callbacks, resume=None):
    masks = MaskRows(tokenizer(), 0.3)
    trainer = CompressionTrainer(
        model=tiny_bert(cls=BertForMaskedLM),
        args=TrainingArguments(
            output_dir=str(folder),
            max_steps=7,
            per_device_train_batch_size=1,
            gradient_accumulation_steps=2,
            save_steps=1,
            learning_rate=1e-2,
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=Dataset.from_list(rows()),
        data_collator=masks,
        callbacks=[masks, *callbacks],
    )
    trainer.train(resume_from_checkpoint=resume)
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


def test_a_training_that_was_interrupted_in_and_between_epochs_ends_with_the_same_bits(tmp_path):
    """Of three steps each; the head has dropout, so that the global state matters too."""
    straight = trained(tmp_path / "straight")
    for stop in (3, 4):
        trained(tmp_path / str(stop), _StopAt(stop))
        resumed = trained(tmp_path / str(stop), resume=True)
        assert all(torch.equal(resumed[name], value) for name, value in straight.items()), stop
