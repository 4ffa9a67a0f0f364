import pytest
import torch

from hf_compress import CompressionError, Distillation, ForwardKL
from hf_compress.distillation.features import Positions, feature_sum
from hf_compress.distillation.objective import distillation_objective
from hf_compress.distillation.signal import Layers, Signal
from hf_compress.tasks.row_kind import row_kind
from tests.distillation.inside import Maps, States, WholeLogits, random

MASK = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0]])


def states(tensor):
    return Signal(hidden_states=Layers([torch.zeros_like(tensor), tensor]))


def test_two_examples_by_hand_for_classes_and_for_tokens():
    """Differences of 1 and 2 over 3 and 2 kept places, 9 in the padding: for classes the means 1 and 4 once each; for
    tokens as often as each example has labels, 2 and 1."""
    student = torch.tensor([[1.0, 1, 1, 9], [2, 2, 9, 9]]).unsqueeze(-1)
    teacher, inputs = torch.zeros_like(student), {"attention_mask": MASK}
    for kind, labels, wanted in (
        ("single_label", torch.tensor([0, 1]), 1 + 4),
        ("multi_label", torch.ones(2, 5), 5 * (1 + 4)),
        ("tokens", torch.tensor([[0, 1, -100, -100], [0, -100, -100, -100]]), 2 * 1 + 1 * 4),
    ):
        logits = torch.zeros(*labels.shape, 5) if kind == "tokens" else torch.zeros(2, 5)
        positions = Positions(inputs, 2, row_kind(kind)().rows(logits, {"labels": labels}, {}))
        assert float(feature_sum(States(), None, states(student), states(teacher), positions)) == pytest.approx(wanted)


def test_an_example_without_labels_and_one_that_is_all_padding_count_nothing():
    student = random(2, 4, 3).requires_grad_()
    labels = torch.full((2, 4), -100)
    labels[1, 1] = 2
    rows = row_kind("shifted_tokens")().rows(torch.zeros(2, 4, 5), {"labels": labels}, {})
    positions = Positions({"attention_mask": torch.tensor([[1, 1, 1, 1], [0, 0, 0, 0]])}, 2, rows)
    total = feature_sum(States(), None, states(student), states(torch.zeros(2, 4, 3)), positions)
    total.backward()
    assert float(total.detach()) == 0 and (student.grad == 0).all()


@pytest.mark.parametrize("loss", [States(), Maps(), WholeLogits()])
@pytest.mark.parametrize("kind", ["shifted_tokens", "single_label"])
def test_sums_of_parts_add_up_to_that_of_the_whole_batch(loss, kind):
    def signal(seed):
        logits = random(4, 6, 5, seed=seed) if kind == "shifted_tokens" else random(4, 5, seed=seed)
        maps = torch.softmax(random(4, 2, 6, 6, seed=seed), -1)
        return logits, random(4, 6, 3, seed=seed), maps

    labels = torch.tensor([[1, 2, 3, 4, 0, -100], [1, 2, -100, -100, -100, -100], [1] * 6, [-100, -100, 1, 2, 3, -100]])
    labels = labels if kind == "shifted_tokens" else torch.tensor([0, 1, 2, 3])
    mask = torch.tensor([[1] * 5 + [0], [1, 1, 0, 0, 0, 0], [1] * 6, [1] * 5 + [0]])
    job = Distillation(losses=[(0.5, loss), (0.2, ForwardKL())])
    student, teacher = signal(0), signal(1)

    def sums(part):
        own, other = (
            Signal(logits=z[part], hidden_states=Layers([h[part], h[part]]), attentions=Layers([a[part]]))
            for z, h, a in (student, teacher)
        )
        facts = {"attention_mask": mask[part]}
        return distillation_objective(job, own, other, {"labels": labels[part]}, row_kind(kind)(), facts)

    whole, parts = sums(slice(0, 4)), [sums(slice(0, 1)), sums(slice(1, 4))]
    for name in ("total", "task", "distilled", "items"):
        torch.testing.assert_close(getattr(whole, name), sum(getattr(part, name) for part in parts))
    torch.testing.assert_close(whole.total, 0.3 * whole.task + 0.7 * whole.distilled)


def test_without_logits_of_the_teacher_nothing_is_said_about_agreement():
    job = Distillation(losses=[(0.5, States())])
    student = Signal(logits=random(2, 5), hidden_states=states(random(2, 4, 3)).hidden_states)
    labels = {"labels": torch.tensor([0, 1])}
    sums = distillation_objective(job, student, states(random(2, 4, 3, seed=1)), labels, row_kind("single_label")())
    assert (float(sums.compared), float(sums.items)) == (0, 2) and float(sums.distilled) > 0


def test_other_positions_masks_and_shapes_are_refused():
    rows = row_kind("single_label")().rows(torch.zeros(2, 5), {"labels": torch.tensor([0, 1])}, {})
    student = states(random(2, 4, 3))
    with pytest.raises(CompressionError, match="states compares position by position, and the student's layers have 4 and"):
        feature_sum(States(), None, student, states(random(2, 5, 3)), Positions({}, 2, rows))
    with pytest.raises(CompressionError, match=r"attention_mask has the shape \(2, 9\) and the model's layers \(2, 4\)"):
        feature_sum(States(), None, student, student, Positions({"attention_mask": torch.ones(2, 9)}, 2, rows))

    class Wrong(States):
        name = "wrong_shape"

        def __call__(self, *arguments):
            return super().__call__(*arguments).sum()

    with pytest.raises(CompressionError, match=r"wrong_shape returns the shape \(\), and one number is expected for each"):
        feature_sum(Wrong(), None, student, student, Positions({}, 2, rows))
