from types import SimpleNamespace

import pytest
import torch
from transformers import BartForSequenceClassification

from hf_compress import CompressionError
from hf_compress.tasks.row_kind import row_kind
from hf_compress.training.student_pass import loss_scale, shift_right, take_targets
from tests.tiny import tiny_bart, tiny_bert, tiny_llama


def config(**tokens):
    return SimpleNamespace(**tokens, get_text_config=lambda decoder: SimpleNamespace(pad_token_id=9))


def test_labels_are_shifted_right_behind_the_start_token_with_padding_for_ignored_ones():
    labels = torch.tensor([[5, 6, 7], [8, -100, -100]])
    shifted = shift_right(labels, config(decoder_start_token_id=2, pad_token_id=0))
    assert shifted.tolist() == [[2, 5, 6], [2, 8, 0]]
    assert shift_right(labels, config(decoder_start_token_id=2)).tolist() == [[2, 5, 6], [2, 8, 9]]


def test_a_config_without_a_start_token_is_refused_with_the_way_out():
    with pytest.raises(
        CompressionError, match=r"SimpleNamespace.decoder_start_token_id is None; set it, or let the collator"
    ):
        shift_right(torch.tensor([[5]]), config(decoder_start_token_id=None))


def test_labels_are_taken_out_and_decoder_inputs_put_in_their_place():
    batch = {"input_ids": torch.tensor([[5, 6]]), "labels": torch.tensor([[7, 8]])}
    tokens = row_kind("tokens")()
    inputs, targets = take_targets(tiny_bart(), batch, tokens)
    assert inputs["decoder_input_ids"].tolist() == [[2, 7]] and targets == {"labels": batch["labels"]}
    assert set(take_targets(tiny_llama(), batch, tokens)[0]) == {"input_ids"}
    classifier = BartForSequenceClassification(tiny_bart().config)
    assert set(take_targets(classifier, {**batch, "labels": torch.tensor([1])}, tokens)[0]) == {"input_ids"}
    given = {**batch, "decoder_input_ids": torch.tensor([[1, 1]])}
    assert take_targets(tiny_bart(), given, tokens)[0]["decoder_input_ids"].tolist() == [[1, 1]]
    ends = {"start_positions": torch.tensor([1]), "end_positions": torch.tensor([2])}
    inputs, targets = take_targets(tiny_bert(), {**batch, **ends}, row_kind("spans")())
    assert targets == ends and set(inputs) == {"input_ids", "labels"}
    with pytest.raises(CompressionError, match="needs end_positions in every batch to know .* has input_ids; let the data"):
        take_targets(
            tiny_bert(), {"input_ids": batch["input_ids"], "start_positions": ends["start_positions"]}, row_kind("spans")()
        )


def test_the_scale_is_one_over_the_items_of_the_accumulated_batch_times_the_processes():
    trainer = SimpleNamespace(
        accelerator=SimpleNamespace(num_processes=4),
        get_tp_size=lambda: 2,
        args=SimpleNamespace(average_tokens_across_devices=True),
    )
    items = torch.tensor(5.0)
    assert float(loss_scale(trainer, items, 20, 3)) == pytest.approx(2 / 20)
    assert float(loss_scale(trainer, items, None, 3)) == pytest.approx(1 / 15)
    trainer.args.average_tokens_across_devices = False
    assert float(loss_scale(trainer, items, 20, 3)) == pytest.approx(1 / 20)
