"""A batch where the model is."""

import torch

from hf_compress._forward.batch import on_device


def test_tensors_move_and_numbers_stay():
    batch = {"input_ids": torch.ones(2), "max_length_q": 7}
    moved = on_device(batch, torch.device("meta"))
    assert moved["input_ids"].device.type == "meta" and moved["max_length_q"] == 7
    assert batch["input_ids"].device.type == "cpu"
