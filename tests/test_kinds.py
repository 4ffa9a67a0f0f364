"""Arguments of a wrong kind end in one sentence that shows the right form."""

import dataclasses

import numpy
import pytest
import torch

from hf_compress import (
    NM,
    W4A16,
    CompressionError,
    CompressionTrainer,
    Cubic,
    Distillation,
    ForwardKL,
    Linear,
    Magnitude,
    Member,
    Merge,
    ModelTeacher,
    Pruning,
    Quantization,
    merge,
    prune,
    quantize,
)
from hf_compress.distillation.configuration import WeightedLoss
from hf_compress.distillation.loss import DistillationLoss
from hf_compress.distillation.teacher import Teacher
from hf_compress.merging.configuration import Heads, Rule, Tokenizer
from hf_compress.merging.method import MergeMethod
from hf_compress.pruning.allocation import Allocation
from hf_compress.pruning.criterion import Criterion
from hf_compress.pruning.pattern import Pattern
from hf_compress.pruning.schedule import Schedule
from hf_compress.quantization.scheme import Scheme
from tests.tiny import tiny_llama
from tests.training.runs import arguments, text_rows

WRONG = {
    "text for a list": (
        lambda: Pruning(targets="Linear"),
        r"Pruning\(targets=...\): 'Linear' .text. given, a list",
    ),
    "a name for a criterion": (
        lambda: Pruning(criterion="magnitude"),
        r"Criterion expected, e.g. criterion=Magnitude\(",
    ),
    "a class for an object": (
        lambda: Pruning(criterion=Magnitude),
        r"the class Magnitude given.*criterion=Magnitude\(",
    ),
    "a number for a schedule": (lambda: Pruning(schedule=0.5), r"0.5 \(a number\) given, Schedule expected"),
    "a criterion for a pattern": (lambda: Pruning(pattern=Magnitude()), "Pattern expected"),
    "a number for a scheme": (lambda: Quantization(scheme=8), r"Scheme or text expected, e.g. scheme=W4A16\(...\)"),
    "text for a teacher": (lambda: Distillation(teacher="bert"), r"'bert' .text. given, Teacher expected, e.g. "),
    "a loss for a list": (
        lambda: Distillation(losses=ForwardKL()),
        r"ForwardKL. given, a list expected, e.g. ",
    ),
    "a loss without weight": (
        lambda: Distillation(losses=[ForwardKL()]),
        r"a pair of weight and loss, e.g. \(0.5,",
    ),
    "half a pair": (lambda: Distillation(losses=[(0.5,)]), "each is a pair of weight and loss"),
    "a name in a pair": (lambda: Distillation(losses=[(0.5, "kl")]), r"'kl' \(text\) given, DistillationLoss expected"),
    "a weight as text": (
        lambda: Distillation(losses=[("1", ForwardKL())]),
        r"WeightedLoss\(weight=...\): '1' .text.",
    ),
    "a number for a model": (lambda: ModelTeacher(model=3), r"ModelTeacher\(model=...\): 3 \(a whole number\) given"),
    "a type for its name": (
        lambda: ModelTeacher(dtype=torch.bfloat16),
        "is a type, and its name is expected; write dtype='bfloat16'",
    ),
    "a number for members": (lambda: Merge(method=Linear(), members=3), "3 .* given, a list expected"),
    "text for a member": (lambda: Merge(method=Linear(), members=["a", "b"]), "'a' .text. given, Member expected"),
    "a name for a method": (lambda: Merge(method="ties", members=[]), r"MergeMethod expected"),
    "a number by its place": (lambda: Member(3), r"Member\(model=...\): 3 \(a whole number\) given, text expected"),
    "an item of a list": (lambda: Member("a", weight=[1, "x"]), "given, a number or a list expected"),
    "a job to prune": (
        lambda: prune(tiny_llama(), 0.5),
        r"where a Pruning is expected; write prune\(model, ",
    ),
    "a name to quantize": (
        lambda: quantize(tiny_llama(), "W8A8"),
        r"write quantize\(model, Quantization\(scheme=",
    ),
    "a list to merge": (lambda: merge(["a", "b"], "out"), r"a list given where a Merge is expected; write merge\(Merge\("),
}


@pytest.mark.parametrize("case", WRONG)
def test_an_argument_of_a_wrong_kind_is_a_sentence_with_the_right_form(case):
    make, expected = WRONG[case]
    with pytest.raises(CompressionError, match=expected) as refusal:
        make()
    assert len(str(refusal.value)) < 400 and "\n" not in str(refusal.value)


JOBS = {
    "pruning": (
        0.7,
        r"0.7 \(a number\) given .*; write pruning=Pruning\(schedule=Cubic\(final=0.7\)\)",
    ),
    "quantization": (W4A16(), r"\(W4A16\) given .*; write quantization=Quantization\(scheme=\"W4A16\"\)"),
    "distillation": ("big/teacher", r"write distillation=Distillation\(teacher=ModelTeacher\(model=\"big/teacher\"\)\)"),
}


@pytest.mark.parametrize("job", JOBS)
def test_a_trainer_says_how_to_write_a_job(job, tmp_path):
    value, expected = JOBS[job]
    with pytest.raises(CompressionError, match=expected):
        CompressionTrainer(model=tiny_llama(), args=arguments(tmp_path), train_dataset=text_rows(), **{job: value})
    with pytest.raises(CompressionError, match=f"the class .* given where .*; write {job}="):
        CompressionTrainer(model=tiny_llama(), args=arguments(tmp_path), **{job: Member})


def test_lists_whole_numbers_and_numpy_numbers_will_do():
    Pruning(targets=["Linear"], schedule=Cubic(final=numpy.float64(0.5)))
    Distillation(losses=[[1, ForwardKL(temperature=2)]])
    NM(n=numpy.int64(2), m=4)
    Quantization(scheme="W8A8", targets=["Linear"])
    Member("a", weight=[0, 1.0])


KINDS = (Criterion, Pattern, Schedule, Allocation, Scheme, DistillationLoss, Teacher, MergeMethod)
CLASSES = [cls for kind in KINDS for cls in kind.available().values()]
CLASSES += [Pruning, Quantization, WeightedLoss, Distillation, Member, Rule, Tokenizer, Heads, Merge]
JUNK = [None, "x", 3, 0.5, True, [], ["x"], {}, object, Magnitude(), W4A16]


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_no_argument_of_any_class_ends_in_another_error(cls):
    required = {
        "loss": ForwardKL(),
        "weight": 0.5,
        "method": Linear(),
        "members": [Member("a")],
        "model": "a",
        "set": {"w": 1.0},
    }
    fields = [field for field in dataclasses.fields(cls) if field.init]
    needed = {
        field.name: required[field.name]
        for field in fields
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    }
    for field in fields:
        for value in JUNK:
            try:
                cls(**{**needed, field.name: value})
            except CompressionError as error:
                assert str(error).strip()
