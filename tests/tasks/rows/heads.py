"""A kind of row against transformers' own head."""

import torch

from hf_compress.tasks.task_loss import task_kind


def assert_the_heads_own(model, labels, name):
    """The sum over the items is the head's loss."""
    model.eval()
    with torch.no_grad():
        answer = model(input_ids=torch.arange(3, 13).view(2, 5), labels=labels)
    kind = task_kind(model, labels)
    assert kind.name == name
    rows = kind.rows(answer.logits, {"labels": labels}, {})
    total = kind.loss_sum(rows.logits[rows.keep], rows.labels[rows.keep])
    torch.testing.assert_close(total / kind.divisor(rows.items), answer.loss)
    assert rows.items == rows.items_of_rows.sum() == kind.num_items({"labels": labels})
