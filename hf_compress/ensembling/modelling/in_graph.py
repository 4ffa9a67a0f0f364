"""A cascade as a graph of its own, for programs that know no Python: branches in place of loops."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import Tensor

BRANCHES = {
    "rows": "a later member is asked about the rows that are left, as in Python",
    "batch": "a later member is asked about the whole batch as soon as one row is left, and not where none is",
    "none": "all members are asked about all rows, so the graph saves nothing",
}
"""How a graph of a cascade parts its rows -> what that means for whoever runs it. The answers are the same."""
_WAY: ContextVar[str] = ContextVar("branches", default="rows")


@contextmanager
def branches(way: str) -> Iterator[None]:
    """Inside, graphs of cascades part their rows in this way: not every exporter follows every one.

    Args:
        way: a key of `BRANCHES`.
    """
    token = _WAY.set(way)
    try:
        yield
    finally:
        _WAY.reset(token)


def cascade_in_graph(
    members: Sequence[Any],
    inputs: Sequence[dict[str, Any]],
    said: Callable[[Tensor, int], Tensor],
    sure: Callable[[Tensor, int], Tensor],
    leave_out: bool,
) -> tuple[Tensor, Tensor]:
    """The answers of a cascade, its stages parted by `torch.cond` as `branches` says.

    A graph raises no errors: a row whose answer is NaN has that for its answer, unless NaN is passed on.

    Args:
        members: from cheap to dear.
        inputs: of each member; every tensor has the rows of the batch in front.
        said: a member's logits and its place -> logits as the ensemble reads them.
        sure: log-probabilities and a place -> (rows,) whether the answer is taken; NaN is not, but at the last place.
        leave_out: rows with NaN go on, and keep an earlier answer where later ones are NaN too.

    Returns:
        Log-probabilities (B, C), and the place of the member that answered (B,); -1 where `leave_out` found only NaN.
    """
    answers = said(members[0](**inputs[0]).logits, 0).log_softmax(-1)
    number = ~torch.isnan(answers).any(-1)
    stages = torch.where(number, 0, -1) if leave_out else torch.zeros_like(number, dtype=torch.int64)
    left = _left(answers, sure(answers, 0), leave_out)
    for place in range(1, len(members)):
        names = [name for name, value in inputs[place].items() if isinstance(value, Tensor)]
        fixed = {name: value for name, value in inputs[place].items() if name not in names}
        ask = _stage(members[place], place, names, fixed, said, sure, leave_out)
        # Where a row stands among those that are left; counted out here, because not every exporter counts in a branch.
        back = (left.cumsum(0) - 1).clamp(min=0)
        operands = (answers, stages, left, back, *[inputs[place][name] for name in names])
        if _WAY.get() == "none":
            answers, stages, left = ask(*operands)
        else:
            answers, stages, left = torch.cond(left.any(), ask, _as_before, operands)
    return answers, stages


def _stage(
    member: Any,
    place: int,
    names: Sequence[str],
    fixed: dict[str, Any],
    said: Callable[[Tensor, int], Tensor],
    sure: Callable[[Tensor, int], Tensor],
    leave_out: bool,
) -> Callable[..., tuple[Tensor, Tensor, Tensor]]:
    """The branch in which a member is asked."""
    rows_leave = _WAY.get() == "rows"

    def ask(answers: Tensor, stages: Tensor, left: Tensor, back: Tensor, *tensors: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        own = dict(zip(names, tensors, strict=True))
        if rows_leave:
            places = left.nonzero().squeeze(1)
            own = {name: value.index_select(0, places) for name, value in own.items()}
        rows = said(member(**own, **fixed).logits, place).log_softmax(-1)
        further = _left(rows, sure(rows, place), leave_out)
        if rows_leave:
            # Rows go back by being read, because ONNX's exporter does not follow what is written into places.
            rows, further = rows.index_select(0, back), further.index_select(0, back)
        taken = left & ~torch.isnan(rows).any(-1) if leave_out else left
        return torch.where(taken[:, None], rows, answers), torch.where(taken, place, stages), further & left

    return ask


def _as_before(answers: Tensor, stages: Tensor, left: Tensor, *_: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The branch in which nobody is asked; a graph's branches give back tensors of their own."""
    return answers.clone(), stages.clone(), left.clone()


def _left(rows: Tensor, sure: Tensor, leave_out: bool) -> Tensor:
    """(rows,) which of them the next member is asked about."""
    return ~sure if leave_out else ~sure & ~torch.isnan(rows).any(-1)
