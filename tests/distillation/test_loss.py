import pytest
import torch

from hf_compress.distillation.loss import DistillationLoss, FeatureLoss, RowLoss


@pytest.mark.parametrize(
    ("base", "facts", "message"),
    [
        (DistillationLoss, {}, "derive it from RowLoss .rows of logits. or FeatureLoss"),
        (FeatureLoss, {"needs": ("hidden_state",)}, "unknown need 'hidden_state'; did you mean 'hidden_states'"),
        (FeatureLoss, {"needs": ()}, "unknown need ''"),
        (RowLoss, {"kinds": ("token",)}, "unknown kind of row 'token'; did you mean 'tokens'"),
        (RowLoss, {"needs": ("hidden_states",)}, "a RowLoss sees logits alone"),
    ],
)
def test_a_class_that_fits_no_contract_is_refused_when_it_is_declared(base, facts, message):
    with pytest.raises(TypeError, match=f"Wrong: {message}"):
        type("Wrong", (base,), {"name": "wrong", **facts})
    assert "wrong" not in DistillationLoss.available()


def test_losses_of_both_contracts_are_of_one_kind_and_say_what_they_lack():
    rows = type("Rows", (RowLoss,), {"name": "some_rows"})()
    with pytest.raises(TypeError, match="Rows defines no __call__"):
        rows(torch.zeros(1, 2), None, None)
    states = type("States", (FeatureLoss,), {"name": "some_states"})()
    with pytest.raises(TypeError, match="States defines no __call__"):
        states(None, None, None, None)
    assert states.build(None, None) is None and "regression" in states.kinds
    assert RowLoss.kind == FeatureLoss.kind == DistillationLoss.kind
