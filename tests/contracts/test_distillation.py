"""What every distillation loss and every teacher promises; a new one is tested without editing a list."""

import pytest
import torch

from hf_compress import CompressionError, Distillation
from hf_compress.distillation.chunked import chunked_sum
from hf_compress.distillation.independence import check_independence
from hf_compress.distillation.loss import DistillationLoss, RowLoss
from hf_compress.distillation.objective import check_kind, distillation_objective
from hf_compress.distillation.projections import Projections
from hf_compress.distillation.signal import KINDS, Layers, Rows, Signal
from hf_compress.distillation.teacher import Teacher
from hf_compress.tasks.builtin.causal_lm import CausalLM
from hf_compress.tasks.row_kind import row_kind
from tests.contracts.members import example
from tests.distillation.inside import Maps, States, WholeLogits, random
from tests.tiny import tiny_llama

EXAMPLES, TOKENS, CLASSES = 4, 6, 5
MASK = torch.tensor([[1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 0], [1, 1, 0, 0, 0, 0]])
NARROW = tiny_llama().config
WIDE = tiny_llama(hidden_size=48).config


LOSSES = (*DistillationLoss.available().values(), States, Maps, WholeLogits)
"""The built-in ones, and one of the tests for everything that a loss may need."""


@pytest.fixture
def loss(request, tmp_path):
    cls = request.param
    return example(cls, tmp_path) if cls.__module__.startswith("hf_compress.") else cls()


def every(wanted=lambda cls, kind: kind in cls.kinds):
    """Each loss with each kind of rows that it is defined for, and that is wanted."""
    pairs = [(cls, kind) for cls in LOSSES for kind in KINDS if wanted(cls, kind)]
    return pytest.mark.parametrize(
        ("loss", "kind"), pairs, indirect=["loss"], ids=[f"{cls.name}-{kind}" for cls, kind in pairs]
    )


def sees_entries(cls, kind):
    return kind in cls.kinds and kind in ("multi_label", "regression") and "logits" in cls.needs


def by_rows(cls, kind):
    return kind in cls.kinds and issubclass(cls, RowLoss)


def kind_of(name):
    return row_kind(name)(**({"reduction": "mean"} if name == "frames" else {}))


def targets_of(kind):
    if kind == "spans":
        return {"start_positions": torch.tensor([1, 0, 2, 9]), "end_positions": torch.tensor([4, 2, 3, 1])}
    if kind == "frames":
        return {"labels": torch.tensor([[1, 2, 1], [3, -100, -100], [4, 4, -100], [2, -100, -100]])}
    return {"labels": labels_of(kind)}


def facts_of(kind):
    heard = {"logit_lengths": MASK.sum(1), "blank_token_id": 0} if kind == "frames" else {}
    return {"attention_mask": MASK, **heard}


def labels_of(kind):
    if kind in ("shifted_tokens", "tokens"):
        labels = torch.arange(EXAMPLES * TOKENS).reshape(EXAMPLES, TOKENS) % CLASSES
        return labels.masked_fill(MASK == 0, -100)
    generator = torch.Generator().manual_seed(2)
    if kind == "single_label":
        return torch.randint(CLASSES, (EXAMPLES,), generator=generator)
    return torch.randint(2, (EXAMPLES, CLASSES), generator=generator).float()


def signal(kind, seed, config=NARROW, dtype=torch.float32, padded=True):
    """An answer with everything in it; attention leaves padding out."""
    shapes = dict.fromkeys(("shifted_tokens", "tokens", "frames"), (EXAMPLES, TOKENS, CLASSES))
    shape = {**shapes, "spans": (EXAMPLES, 2, TOKENS)}.get(kind, (EXAMPLES, CLASSES))
    layers = range(config.num_hidden_layers + 1)
    states = [random(EXAMPLES, TOKENS, config.hidden_size, seed=seed + 10 + n, dtype=dtype) for n in layers]
    scores = [
        random(EXAMPLES, config.num_attention_heads, TOKENS, TOKENS, seed=seed + 50 + n, dtype=dtype) for n in layers[1:]
    ]
    padding = (MASK == 0)[:, None, None, :] & padded
    maps = [torch.softmax(score.masked_fill(padding, -1e4), -1) for score in scores]
    return Signal(logits=random(*shape, seed=seed, dtype=dtype), hidden_states=Layers(states), attentions=Layers(maps))


def part(whole, rows):
    return Signal(
        logits=whole.logits[rows],
        hidden_states=Layers([one[rows] for one in whole.hidden_states]),
        attentions=Layers([one[rows] for one in whole.attentions]),
    )


def tensors(one):
    return [one.logits, *one.hidden_states, *one.attentions]


def with_tensors(values):
    logits, *layers = values
    states = NARROW.num_hidden_layers + 1
    return Signal(logits=logits, hidden_states=Layers(layers[:states]), attentions=Layers(layers[states:]))


class Built:
    """A teacher in whose place signals stand."""

    def __init__(self, loss, config):
        teacher = type("Stand", (Teacher,), {"name": "stand", "gives": loss.needs, "config": lambda self, student: config})
        self.job = Distillation(teacher=teacher(), losses=[(0.5, loss)])
        self.projections = Projections(self.job, NARROW, seed=0)

    def sums(self, student, teacher, kind, rows=slice(None)):
        targets, facts = (
            {name: value[rows] if torch.is_tensor(value) else value for name, value in given.items()}
            for given in (targets_of(kind), facts_of(kind))
        )
        answers = part(student, rows), part(teacher, rows)
        return distillation_objective(self.job, *answers, targets, kind_of(kind), facts, projections=self.projections)


@every()
def test_equal_answers_have_no_loss_and_others_have_one(loss, kind):
    built = Built(loss, NARROW)
    same, other = signal(kind, 0), signal(kind, 1)
    if not built.projections:
        assert float(built.sums(same, same, kind).distilled) == pytest.approx(0, abs=1e-5)
    assert float(built.sums(other, same, kind).distilled) > 1e-4


@every(sees_entries)
def test_independent_entries_that_are_all_off_have_a_loss(loss, kind):
    """A softmax does not change when every logit moves by 3; independent labels and numbers do."""
    teacher = signal(kind, 0)
    student = Signal(logits=teacher.logits + 3, hidden_states=teacher.hidden_states, attentions=teacher.attentions)
    assert float(Built(loss, NARROW).sums(student, teacher, kind).distilled) > 0.1


@every()
@pytest.mark.parametrize("config", [NARROW, WIDE], ids=["equal widths", "another width"])
def test_the_sum_over_a_batch_is_that_of_its_parts(loss, kind, config):
    """So the gradient does not depend on accumulation and processes: the Trainer divides by the same number of items."""
    built, student, teacher = Built(loss, config), signal(kind, 0), signal(kind, 1, config)
    whole = built.sums(student, teacher, kind)
    for cut in (1, 3):
        halves = [built.sums(student, teacher, kind, rows) for rows in (slice(0, cut), slice(cut, EXAMPLES))]
        for name in ("total", "distilled", "items"):
            torch.testing.assert_close(getattr(whole, name), sum(getattr(half, name) for half in halves))


@every()
def test_the_gradient_is_that_of_finite_differences(loss, kind):
    teacher = signal(kind, 1, dtype=torch.float64, padded=False)
    values = [one.requires_grad_() for one in tensors(signal(kind, 0, dtype=torch.float64, padded=False))]
    if isinstance(loss, RowLoss):
        keep = torch.tensor([True, True, False, True])
        width = teacher.logits.shape[-1]
        target = Rows(logits=teacher.logits.reshape(-1, width)[:4], kind=kind)
        rows = values[0].detach().reshape(-1, width)[:4].requires_grad_()
        assert torch.autograd.gradcheck(lambda student: loss(student, target, keep), rows)
        return
    projection = Built(loss, NARROW).projections.get(0)
    projection = None if projection is None else projection.double()
    keep = torch.ones(values[0].shape[:-1] if loss.needs == ("logits",) else MASK.shape, dtype=torch.bool).view(
        EXAMPLES, -1
    )
    one = loss(with_tensors(values), teacher, keep, projection).sum()
    gradients = torch.autograd.grad(one, values, allow_unused=True)
    used = [index for index, gradient in enumerate(gradients) if gradient is not None]
    assert used, "a loss depends on what it needs"

    def total(*changed):
        given = dict(zip(used, changed, strict=False))
        student = with_tensors([given.get(index, value.detach()) for index, value in enumerate(values)])
        return loss(student, teacher, keep, projection).sum()

    parameters = [] if projection is None else list(projection.parameters())
    assert torch.autograd.gradcheck(total, [*(values[index] for index in used), *parameters], fast_mode=True)


@every(by_rows)
def test_chunks_add_up_to_the_whole(loss, kind):
    student, teacher = (signal(kind, seed).logits.flatten(0, -2) for seed in (0, 1))
    keep = torch.arange(len(student)) % 3 != 1

    def chunk_loss(rows, index):
        return (loss(rows, Rows(logits=teacher[index], kind=kind), keep[index]),)

    ends = []
    for chunk_bytes in (4 * CLASSES, 12 * CLASSES, 2**20):
        logits = student.clone().requires_grad_()
        (total,) = chunked_sum(logits, keep, chunk_loss, chunk_bytes)
        total.backward()
        ends.append((total.detach(), logits.grad))
    logits = student.clone().requires_grad_()
    whole = loss(logits, Rows(logits=teacher, kind=kind), keep)
    whole.backward()
    for total, gradient in ends:
        torch.testing.assert_close(total, whole.detach())
        torch.testing.assert_close(gradient, logits.grad)
    assert (logits.grad[~keep] == 0).all() and (logits.grad[keep] != 0).any()


@every()
def test_padding_has_no_gradient(loss, kind):
    values = [one.requires_grad_() for one in tensors(signal(kind, 0))]
    Built(loss, NARROW).sums(with_tensors(values), signal(kind, 1), kind).total.backward()
    padding = MASK == 0
    for one in values[1:]:
        if one.grad is not None:
            rows = one.grad if one.dim() == 3 else one.grad.transpose(1, 2)
            assert (rows[padding] == 0).all()
    if kind in ("tokens", "frames"):
        assert (values[0].grad[padding] == 0).all()
    if kind == "spans":
        assert (values[0].grad.transpose(1, 2)[padding] == 0).all()


@every(lambda cls, kind: True)
def test_rows_that_a_loss_is_not_defined_for_are_refused_in_its_name(loss, kind):
    job = Built(loss, NARROW).job
    if kind in loss.kinds:
        check_kind(job, kind_of(kind), "TinyModel")
    else:
        with pytest.raises(CompressionError, match=f"^{loss.name} is not defined for .*, which TinyModel predicts"):
            check_kind(job, kind_of(kind), "TinyModel")


# Teachers

INPUTS = {"input_ids": torch.arange(3, 15).view(2, 6), "attention_mask": torch.ones(2, 6, dtype=torch.long)}


@pytest.fixture(params=Teacher.available().values(), ids=lambda cls: cls.name)
def teacher(request, tmp_path):
    """It is one for `tiny_llama`."""
    return example(request.param, tmp_path)


def loaded(teacher, student, needs=("logits",)):
    return teacher.load(student, torch.device("cpu"), None, needs)


def test_a_teacher_answers_with_what_is_needed_for_every_position_of_the_student(teacher):
    student = tiny_llama(seed=0).eval()
    for needs in (("logits",), teacher.gives):
        answer = loaded(teacher, student, needs).signal(INPUTS)
        assert answer.has == needs
        assert not any(one.requires_grad for one in tensors(answer))
        assert answer.logits.shape == student(**INPUTS).logits.shape
        assert {layers.size for layers in (answer.hidden_states, answer.attentions)} <= {(2, 6), None}


def test_a_teacher_is_frozen_and_shares_nothing_with_the_student(teacher):
    student = tiny_llama(seed=0)
    before = {name: value.clone() for name, value in student.state_dict().items()}
    one = loaded(teacher, student)
    first = one.signal(INPUTS).logits
    check_independence(one, student, INPUTS)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(1.0)
    assert torch.equal(one.signal(INPUTS).logits, first)
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.sub_(1.0)
    assert before.keys() == student.state_dict().keys() and all(one.requires_grad for one in student.parameters())
    assert one.copied is None or one.copied is not student


def test_a_teacher_names_what_it_opens_and_checks_it(teacher):
    sources = teacher.sources()
    assert all(isinstance(key, str) and isinstance(place, str) for key, place in sources.items())
    student, task = tiny_llama().config, CausalLM()
    teacher.check(student, None, task, "distillation.teacher")
    assert (teacher.config(student) is None) == (teacher.gives == ("logits",))
    if sources:
        with pytest.raises(CompressionError, match=r"^distillation\.teacher\."):
            teacher.check(tiny_llama(vocab_size=80).config, None, task, "distillation.teacher")
