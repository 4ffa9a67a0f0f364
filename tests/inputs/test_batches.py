"""Batches meet a model on its device and in its type."""

import torch

from hf_compress.inputs.batches import Casting, model_inputs


def test_floating_point_inputs_take_the_models_type_and_ids_stay():
    model = torch.nn.Linear(2, 2).to(torch.bfloat16)
    batch = {"pixel_values": torch.ones(1, 2), "input_ids": torch.ones(1, 2, dtype=torch.long), "labels": torch.ones(1)}
    inputs = model_inputs(batch, model)
    assert {name: tensor.dtype for name, tensor in inputs.items()} == {
        "pixel_values": torch.bfloat16,
        "input_ids": torch.int64,
    }


def test_packed_integers_do_not_say_the_type():
    model = torch.nn.Module()
    model.packed = torch.nn.Parameter(torch.zeros(2, dtype=torch.int32), requires_grad=False)
    model.scale = torch.nn.Parameter(torch.zeros(2, dtype=torch.float16))
    assert model_inputs({"x": torch.ones(1)}, model)["x"].dtype == torch.float16


def test_numbers_of_packed_batches_stay_as_they_are():
    batch = {"input_ids": torch.ones(1, 2, dtype=torch.long), "max_length_q": 2}
    assert model_inputs(batch, torch.nn.Linear(2, 2))["max_length_q"] == 2


def test_a_collator_that_casts_leaves_labels_and_numbers():
    model = torch.nn.Linear(2, 2).to(torch.bfloat16)
    rows = [{"pixel_values": torch.ones(2), "labels": torch.ones(1), "input_ids": torch.ones(2, dtype=torch.long), "n": 3}]
    batch = Casting(lambda rows: rows[0], model)(rows)
    assert [getattr(value, "dtype", value) for value in batch.values()] == [torch.bfloat16, torch.float32, torch.int64, 3]
