"""What a model hands its loss is heard, and its loss is its own again afterwards."""

from types import SimpleNamespace

import pytest
import torch

from hf_compress._modules.heard_loss import heard_loss


def test_what_a_loss_is_given_is_heard_and_the_loss_comes_back():
    def loss(logits, labels, **given):
        return logits.sum()

    model = SimpleNamespace(loss_function=loss)
    with pytest.raises(ZeroDivisionError), heard_loss(model) as heard:
        assert model.loss_function(torch.ones(2), None, logit_lengths=[3]) == 0
        assert heard == {"logit_lengths": [3]}
        1 / 0  # noqa: B018
    assert model.loss_function is loss
