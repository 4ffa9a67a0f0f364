"""Classes that members number differently."""

import torch

from hf_compress.ensembling.modelling.labels import LabelOrders


def test_a_member_s_classes_come_in_the_ensemble_s_order():
    orders = LabelOrders([None, [2, 0, 1]])
    logits = torch.tensor([[1.0, 2.0, 3.0], [4.0, float("nan"), -float("inf")]])
    assert orders(logits, 0) is logits
    torch.testing.assert_close(orders(logits, 1), logits[:, [2, 0, 1]], rtol=0, atol=0, equal_nan=True)


def test_orders_are_in_no_checkpoint():
    assert not LabelOrders([None, [1, 0]]).state_dict()
