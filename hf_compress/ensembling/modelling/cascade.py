"""Several models one after the other: each answers the rows that it is sure of, the next is asked about the rest."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor
from transformers.modeling_outputs import SequenceClassifierOutput

from hf_compress._errors import CompressionError
from hf_compress.ensembling.confidence import Confidence
from hf_compress.ensembling.modelling.classifier import WHOLE_ROWS, ClassifierConfig, ClassifierEnsemble, num_rows
from hf_compress.ensembling.modelling.in_graph import cascade_in_graph

NOBODY = 2.0
"""A threshold that no confidence reaches: its stage answers no row."""


class CascadeConfig(ClassifierConfig):
    """Of a `Cascade`.

    Attributes:
        thresholds: of all members but the last, each in [0, 1]; 2 for a stage that is to answer nothing.
        confidence: what says how sure an answer is: a name, {"name": ..., arguments}, or a list of them with one for each
            member but the last.
        costs: what a row costs in each member, in one unit for all: multiply-adds, ms, money. None: unknown.
        on_nan: "leave_out" passes rows on that a member answers with NaN.
        execution: auto or sequential, which are the same: who is asked depends on who has answered.
    """

    model_type = "cascade_ensemble"
    unused: ClassVar[tuple[str, ...]] = ("weights", "combiner")
    thresholds: list[float] | None = None
    confidence: Any = "maximum_probability"
    costs: list[float] | None = None

    def check_way(self) -> None:
        """One after the other is the only one."""
        super().check_way()
        if self.execution in ("stacked", "devices"):
            raise CompressionError(
                f"cascade: execution={self.execution!r} asks all members at once, and a cascade asks the next about what"
                " is left; leave it out"
            )

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.members is None:
            return
        self.confidence = plain_confidence(self.confidence)
        self.confidences()
        given = [] if self.thresholds is None else list(self.thresholds)
        if len(given) != len(self.members) - 1:
            raise CompressionError(
                f"{len(given)} thresholds for {len(self.members)} members; give one for each but the last, which answers"
                " all that reaches it"
            )
        for name, threshold in zip(self.names, given, strict=False):
            if not (0 <= threshold <= 1 or threshold == NOBODY):
                raise CompressionError(
                    f"the threshold of member {name!r} is {threshold}; it must be in [0, 1], or 2 to answer nothing"
                )
        if self.costs is not None and len(self.costs) != len(self.members):
            raise CompressionError(f"{len(self.costs)} costs for {len(self.members)} members; give one each, or none")
        for name, cost in zip(self.names, self.costs or (), strict=False):
            if not (math.isfinite(cost) and cost >= 0):
                raise CompressionError(f"the cost of member {name!r} is {cost}; costs are finite numbers, 0 or more")

    def confidences(self) -> list[Confidence]:
        """Of every member but the last.

        Raises:
            CompressionError: one is unknown, or there is not one for each.
        """
        num_stages = len(self.members or ()) - 1
        each = self.confidence if isinstance(self.confidence, list) else [self.confidence] * num_stages
        if len(each) != num_stages:
            raise CompressionError(
                f"{len(each)} confidences for {num_stages + 1} members; give one, or one for each but the last"
            )
        return [_made(one) for one in each]


@dataclass
class CascadeOutput(SequenceClassifierOutput):
    """With the place of the member that answered each row, (B,), where `output_stages=True` asks for it."""

    stages: Tensor | None = None


class Cascade(ClassifierEnsemble):
    """Members from cheap to dear. Stage k answers rows whose confidence is at least thresholds[k]; the last answers all.

    Only the rows that are left go on, as a smaller batch, so a row costs what the stages cost that it visits. `forward`
    takes `output_stages=True`, and its output then says which member answered each row; an exported graph always says it.

    Source: Viola, Jones (2001), Rapid Object Detection using a Boosted Cascade of Simple Features,
    https://doi.org/10.1109/CVPR.2001.990517.
    """

    config_class = CascadeConfig
    config: CascadeConfig
    for_heads = WHOLE_ROWS
    _judges: tuple[str, list[Confidence]] = ("", [])

    def answered(self, inputs: dict[str, Any]) -> CascadeOutput:
        """Stage by stage; a member that no row reaches is not asked.

        Args:
            inputs: by the ensemble's names, with `output_stages`.

        Raises:
            CompressionError: members read other numbers of rows, or a row has no answer but NaN.
        """
        show = bool(inputs.pop("output_stages", False))
        own = self.member_inputs(inputs)
        if torch.compiler.is_exporting():  # whoever runs the graph can ask for nothing, so it says all
            leave_out = self.config.on_nan == "leave_out"
            logits, stages = cascade_in_graph(list(self.members), own, self.said, self._judge(), leave_out)
            return CascadeOutput(logits=logits, stages=stages)  # type: ignore[arg-type]
        total = self._rows(own)
        left = torch.arange(total, device=self.device)
        stages = torch.full_like(left, -1)
        answers = torch.zeros(total, int(self.config.num_labels or 0), device=self.device)
        sure = self._judge()
        for stage, (member, read) in enumerate(zip(self.members, own, strict=True)):
            if not len(left):
                break
            rows = self.said(member(**rows_of(read, left, total)).logits, stage).log_softmax(-1)
            numbers = ~torch.isnan(rows).any(-1)
            # Later stages overwrite earlier ones; a row whose later answers are NaN keeps the last that was a number.
            answers = answers.index_copy(0, left[numbers], rows[numbers])
            stages[left[numbers]] = stage
            left = left[~sure(rows, stage)]
        if bool((stages < 0).any()):
            raise CompressionError(
                f"row {int((stages < 0).nonzero()[0])} is answered with NaN by every member; look at its inputs"
            )
        return CascadeOutput(logits=answers, stages=stages if show else None)  # type: ignore[arg-type]

    def account(self, stages: Tensor) -> float:
        """The mean cost of a row: it pays every stage that it visits, in the unit of the config's costs.

        Args:
            stages: (N,) the member that answered each row, as `output_stages=True` gives it.

        Raises:
            CompressionError: the config has no costs, or there are no rows.
        """
        if self.config.costs is None:
            raise CompressionError("the cascade does not know what its members cost; set config.costs, a number for each")
        if not stages.numel():
            raise CompressionError("no rows, so no mean cost; give the stages of at least one row")
        paid = torch.tensor(self.config.costs, dtype=torch.float64).cumsum(0)
        return float(paid[stages.cpu()].mean())

    def _judge(self) -> Callable[[Tensor, int], Tensor]:
        """What says of log-probabilities and their stage, (rows,), whether they are taken; NaN is not, but at the last."""
        plain = repr(self.config.confidence)
        if plain != self._judges[0]:  # looking them up by name takes longer than asking them
            self._judges = plain, self.config.confidences()
        thresholds, confidences = self.config.thresholds or [], self._judges[1]

        def sure(rows: Tensor, stage: int) -> Tensor:
            if stage == len(thresholds):
                return torch.ones_like(rows[:, 0], dtype=torch.bool)
            return confidences[stage].score(rows) >= thresholds[stage]

        return sure

    def _rows(self, own: list[dict[str, Any]]) -> int:
        names = self.config.names
        each = [num_rows(*facts) for facts in zip(self.members, names, own, strict=True)]
        for name, count in zip(names, each, strict=True):
            if count != each[0]:
                raise CompressionError(
                    f"member {name!r} got {count} rows, member {names[0]!r} {each[0]}; all read the same batch"
                )
        return each[0]


def plain_confidence(given: Any) -> Any:
    """A confidence, or a list of them, as a config holds it: a name where there are no arguments."""
    if isinstance(given, Confidence):
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(given).items()}
        return {"name": given.name, **plain} if plain else given.name
    return [plain_confidence(one) for one in given] if isinstance(given, list | tuple) else given


def _made(plain: str | dict[str, Any]) -> Any:
    """A confidence from what a config holds."""
    arguments = {"name": plain} if isinstance(plain, str) else dict(plain)
    if "name" not in arguments:
        raise CompressionError(f"confidence={plain!r} has no name; write {{name: margin}}")
    name = arguments.pop("name")
    values = {key: tuple(value) if isinstance(value, list) else value for key, value in arguments.items()}
    return Confidence.create(name, **values)


def rows_of(inputs: dict[str, Any], rows: Tensor, total: int) -> dict[str, Any]:
    """Those rows of every input that has all of them; what has none, such as positions for the whole batch, stays.

    Args:
        inputs: of one member.
        rows: (R,) places among the `total` rows, rising.
        total: rows of the batch.
    """
    if len(rows) == total:
        return inputs
    return {
        key: value.index_select(0, rows.to(value.device))
        if isinstance(value, Tensor) and value.dim() and len(value) == total
        else value
        for key, value in inputs.items()
    }
