"""What models answer to the rows of a recipe, and what a row costs in each of them."""

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from hf_compress.ensembling.member_costs import MemberCosts
from hf_compress.ensembling.modelling.execution import Execution
from hf_compress.ensembling.opened import OpenedMember
from hf_compress.evaluation.asked import Asked, ask
from hf_compress.evaluation.finished import load_finished
from hf_compress.evaluation.in_turns import Latency, Timed, macs_of_row, milliseconds
from hf_compress.evaluation.token_likelihoods import has_tokens

SPLITS = ("validation", "test")


@dataclass(frozen=True, kw_only=True)
class Answers:
    """Of one model, on both splits.

    Attributes:
        splits: split -> what it answered.
        parameters: how many numbers the model has.
        macs: multiplications with an addition of a row; None where they were not counted.
    """

    splits: dict[str, Asked]
    parameters: int
    macs: float | None


def ask_model(
    job: Any,
    one: OpenedMember,
    device: torch.device,
    *,
    counted: bool = True,
    while_loaded: Callable[[Any], None] = lambda model: None,
) -> Answers:
    """A model's answers to both splits; it is gone from memory afterwards.

    Args:
        job: the recipe.
        one: the model.
        device: where it is asked.
        counted: count its multiplications, too.
        while_loaded: called with the model before it is gone.
    """
    model = _loaded(one, device)
    tokens = ("validation",) if job.fit.weights and has_tokens(job.task) else ()
    execution = model.config.execution if isinstance(model, Execution) else None
    try:
        if execution is not None:  # by the clock it would be asked otherwise, and rounded otherwise, from run to run
            model.set_execution("sequential")
        found = {
            split: ask(
                model,
                one.opened,
                split,
                job.batch_size,
                job.metrics,
                f"asking {one.name} ({split})",
                likelihoods=counted and split in tokens,
            )
            for split in SPLITS
        }
        macs = macs_of_row(model, one.opened, "validation", job.batch_size) if counted else None
        if execution is not None:
            model.set_execution(execution)
        while_loaded(model)
        return Answers(splits=found, parameters=sum(one.numel() for one in model.parameters()), macs=macs)
    finally:
        del model
        gc.collect()


def costs_of(
    job: Any, members: Sequence[OpenedMember], answers: Sequence[Answers], device: torch.device
) -> MemberCosts | None:
    """What a row costs in each member, as the recipe has it, or as it is measured on validation rows; None: nobody knows.

    Args:
        job: the recipe.
        members: opened.
        answers: theirs; empty without data.
        device: where times are measured.
    """
    given = tuple(member.cost for member in job.members)
    if None not in given:
        return MemberCosts(each=given, unit="by the recipe")
    if not answers:
        return None
    if job.fusion.asks_costs == "ms":  # times can be compared only in turns, so all members are loaded at once
        timed = [Timed(name=one.name, model=_loaded(one, device), opened=one.opened) for one in members]
        found = milliseconds(timed, "validation", job.batch_size, job.latency or Latency())
        full, alone = (tuple(found[one.name][str(size)] for one in members) for size in (job.batch_size, 1))
        return MemberCosts(each=full, unit="ms", alone=alone, batch_size=job.batch_size)
    return MemberCosts(each=tuple(float(one.macs or 0) for one in answers))


def time_all(
    job: Any,
    model: Any,
    members: Sequence[OpenedMember],
    student: OpenedMember | None,
    whole: OpenedMember,
    device: torch.device,
) -> dict[str, dict[str, float]]:
    """Milliseconds of a row in every model, in turns; see `milliseconds`.

    Args:
        job: the recipe.
        model: the ensemble, whose members are timed as they lie in it.
        members: what makes their rows.
        student: a model that is loaded for it.
        whole: what makes the ensemble's rows.
        device: where all of them are.
    """
    if job.latency is None:
        return {}
    timed = [Timed(name=one.name, model=own, opened=one.opened) for one, own in zip(members, model.members, strict=True)]
    if student is not None:
        timed.append(Timed(name=student.name, model=_loaded(student, device), opened=student.opened))
    timed.append(Timed(name=whole.name, model=model, opened=whole.opened))
    return milliseconds(timed, "test", job.batch_size, job.latency)


def _loaded(one: OpenedMember, device: torch.device) -> Any:
    return load_finished(one.opened, str(one.folder)).to(device)  # type: ignore[arg-type]
