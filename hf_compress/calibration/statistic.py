"""The contract of a statistic: what is measured of a model on data, how parts of it add up, and what comes out."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, get_args

from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._registry import Strategy, unknown

Shape = Literal["(I,)", "(I, I)", "(O, I)"]
"""One number per input, one per pair of inputs, or one per weight."""
Labels = Literal["expected", "sampled", "true"]
"""Whose labels a gradient is taken at; see `GradientStatistic`."""


class Statistic(Strategy, kind="statistic", package="hf_compress.calibration.statistics"):
    """Measures something of every layer on data; derive from `InputStatistic` or `GradientStatistic`.

    A statistic is a value without state. While data pass, whoever collects keeps one running total per layer, a tensor of
    any shape, so that a part of the data, another process or another block of the model can be added at any time.

    Attributes:
        shape: what comes out. "(I,)" and "(I, I)" are aligned with the columns of the layer's (O, I) weight matrix;
            "(O, I)" has the shape of the parameter itself, and criteria get it as the (O, I) matrix.
        needs_gradient: it observes gradients of parameters, and not the inputs of layers.
    """

    shape: ClassVar[Shape]
    needs_gradient: ClassVar[bool] = False

    def add(self, total: Tensor, other: Tensor) -> Tensor:
        """Two running totals as one; the first may be changed in place. Sums, unless a statistic adds up otherwise."""
        return total.add_(other)

    def finish(self, total: Tensor, count: int) -> Tensor:
        """The statistic.

        Args:
            total: of everything that was observed; may be changed in place.
            count: rows that were observed, of a gradient statistic examples; 1 or more.

        Returns:
            A tensor of `shape`, fp32.
        """
        raise TypeError(f"{type(self).__name__} defines no finish()")


class InputStatistic(Statistic):
    """Observes the rows that enter a layer: one per token or position, padding left out."""

    def observe(self, rows: Tensor, total: Tensor | None) -> Tensor:
        """The running total with more rows in it.

        Args:
            rows: (N, I), any float type, N >= 1; column i meets column i of the layer's weight matrix.
            total: of the rows before, None at the first; may be changed in place.
        """
        raise TypeError(f"{type(self).__name__} defines no observe()")


@dataclass(frozen=True, kw_only=True)
class GradientStatistic(Statistic):
    """Observes, one example at a time, the gradient of log p(y | x) with respect to every parameter.

    An example of a token model has the sum of its tokens' log probabilities, each given the true tokens before it.

    Attributes:
        labels: whose y. "expected" takes every class of a classifier, weighted by its probability: one backward pass per
            class. "sampled" draws one y per example (per token for token models) from the model, "true" takes the data's.
            None = `usual_labels`, which without any are "expected" for classifiers and "sampled" for token models.
        shift: token t is predicted from the tokens before t; None = for the causal language models of transformers.
        seed: of "sampled"; None = 0.
        usual_labels: what the statistic is defined at, where nobody asks for others.
    """

    labels: Labels | None = None
    shift: bool | None = None
    seed: int | None = None

    shape: ClassVar[Shape] = "(O, I)"
    needs_gradient: ClassVar[bool] = True
    usual_labels: ClassVar[Labels | None] = None

    def __post_init__(self) -> None:
        if self.labels is not None and self.labels not in get_args(Labels):
            raise CompressionError(unknown("labels", self.labels, get_args(Labels)))

    def observe(self, gradient: Tensor, weight: float, total: Tensor | None) -> Tensor:
        """The running total with one more gradient in it.

        Args:
            gradient: of one parameter, in its shape and type.
            weight: the probability of the label it was taken at; the weights of an example sum to 1.
            total: of the gradients before, None at the first; may be changed in place.
        """
        raise TypeError(f"{type(self).__name__} defines no observe()")

    def finish(self, total: Tensor, count: int) -> Tensor:
        """Per example."""
        return total.div_(count)


def statistics_of(needs: Iterable[str | Statistic]) -> list[Any]:
    """Names and statistics as statistics.

    Raises:
        CompressionError: an unknown name, or one that comes twice.
    """
    found: dict[str, Statistic] = {}
    for need in needs:
        statistic = Statistic.create(need) if isinstance(need, str) else need
        if not isinstance(statistic, Statistic):
            raise CompressionError(f"{need!r} is not a statistic; give its name or the statistic itself")
        if found.setdefault(statistic.name, statistic) != statistic:
            raise CompressionError(f"the statistic {statistic.name} is named twice with different settings; keep one")
    return list(found.values())
