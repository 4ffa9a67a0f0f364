"""The contract of a distillation loss: `RowLoss` compares rows of logits, `FeatureLoss` what happens inside the models."""

from typing import Any, ClassVar

from torch import Tensor, nn

from hf_compress._registry import Strategy, unknown
from hf_compress.distillation.signal import KINDS, NEEDS, Kind, Need, Rows, Signal


class DistillationLoss(Strategy, kind="distillation loss", package="hf_compress.distillation.losses"):
    """Compares student and teacher; derive from `RowLoss` or `FeatureLoss`.

    Attributes:
        needs: what is asked of teacher and student; nothing else is.
        kinds: the kinds of rows it is defined for; a run whose model has others is refused before it starts.
    """

    needs: ClassVar[tuple[Need, ...]] = ("logits",)
    kinds: ClassVar[tuple[Kind, ...]] = ("shifted_tokens", "tokens", "single_label")

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Refuse a class that fits neither contract, when it is declared."""
        super().__init_subclass__(**kwargs)
        if "name" not in vars(cls):
            return
        if not issubclass(cls, RowLoss | FeatureLoss):
            raise TypeError(f"{cls.__name__}: derive it from RowLoss (rows of logits) or FeatureLoss (all else)")
        for given, known, what in ((cls.needs, NEEDS, "need"), (cls.kinds, KINDS, "kind of row")):
            wrong = [one for one in given if one not in known]
            if wrong or not given:
                raise TypeError(f"{cls.__name__}: {unknown(what, wrong[0] if wrong else '', known)}")
        if issubclass(cls, RowLoss) and cls.needs != ("logits",):
            raise TypeError(f"{cls.__name__}: a RowLoss sees logits alone; derive it from FeatureLoss")


class RowLoss(DistillationLoss):
    """Compares rows of logits. Called chunk by chunk, so that memory does not grow with the vocabulary."""

    def __call__(self, student: Tensor, teacher: Rows, keep: Tensor) -> Tensor:
        """The loss over some rows.

        Args:
            student: (N, V) fp32 logits; gradients flow here only.
            teacher: rows as in `student`; `teacher.kind` is one of `kinds`.
            keep: (N,) bool, True = counts.

        Returns:
            Scalar **sum** over what the task loss divides by: kept rows, in nats; for independent labels and for numbers
            every entry of a kept row. The caller divides by the number of items in the accumulated batch, so that the
            gradient does not depend on how the batch is split.
        """
        raise TypeError(f"{type(self).__name__} defines no __call__()")


class FeatureLoss(DistillationLoss):
    """Compares hidden states, attention maps or whole logits, for all kinds of rows unless it says otherwise."""

    needs: ClassVar[tuple[Need, ...]] = ("hidden_states",)
    kinds: ClassVar[tuple[Kind, ...]] = KINDS

    def build(self, student: Any, teacher: Any) -> nn.Module | None:
        """The trained parts between both models, e.g. a Linear from the student's width to the teacher's; None = none.

        They are trained with the student's learning rate and clipped with it, stand in checkpoints in a file of their own,
        and never in the model. What is random in them follows from the run's seed.

        Args:
            student: its config.
            teacher: its config.

        Raises:
            CompressionError: the loss does not fit these models, e.g. a layer that one of them does not have.
        """
        return None

    def __call__(self, student: Signal, teacher: Signal, keep: Tensor, projection: nn.Module | None) -> Tensor:
        """The loss of every position.

        Args:
            student: what `needs` names; gradients flow here and into the projection.
            teacher: the same of the teacher; each model with its own widths, heads and number of layers.
            keep: (B, T) bool, False = padding, which must not be looked at through other positions either.
            projection: what `build` made.

        Returns:
            (B, T), one number per position (of attention maps: per query). The caller leaves padding out, gives every
            example the weight that it has in the task loss, spread evenly over its kept positions, and divides by the items
            of the accumulated batch: so the gradient does not depend on how the batch is split.
        """
        raise TypeError(f"{type(self).__name__} defines no __call__()")
