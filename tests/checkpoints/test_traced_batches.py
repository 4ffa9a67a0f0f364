"""What a graph is traced on has what batches in use have."""

import torch

from hf_compress.checkpoints.traced_batches import batches_to_trace
from tests.ensembling.folders import sounds
from tests.tiny import tiny_bert


def test_what_batches_have_beside_the_main_input_is_traced_too():
    ids = torch.ones(4, 6, dtype=torch.int64)
    example = {"input_ids": ids, "token_type_ids": ids, "labels": ids, "lengths": ids[0], "options": 5}
    first, second = batches_to_trace(tiny_bert(), example)
    assert set(first) == set(second) == {"input_ids", "attention_mask", "token_type_ids"}
    assert first["input_ids"].shape != second["input_ids"].shape
    for batch in (first, second):
        assert torch.equal(batch["token_type_ids"], torch.zeros_like(batch["input_ids"]))
    assert set(batches_to_trace(tiny_bert())[0]) == {"input_ids", "attention_mask"}


def test_the_mask_of_sound_is_of_ones():
    (member, _), _ = sounds()
    first, _ = batches_to_trace(member, {"input_values": torch.zeros(2, 300), "attention_mask": torch.zeros(2, 300).int()})
    assert torch.equal(first["attention_mask"], torch.ones(first["input_values"].shape, dtype=torch.int32))
