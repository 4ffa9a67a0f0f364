"""The contract of a merge method."""

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import Tensor

from hf_compress._registry import Strategy
from hf_compress.merging.operands import Operands


class MergeMethod(Strategy, kind="merge method", package="hf_compress.merging.methods"):
    """Merges one tensor of every member into one tensor.

    A method is a frozen dataclass. Its fields are shared by all members (t, lambda); a recipe's rules may replace them per
    tensor. What is set per member (weight, density) is named in `per_member` and arrives in `operands.values`, whose
    missing entries the caller fills from the field of the same name.

    Most methods work element by element, so `merge` gets chunks and memory stays bounded. What such a method must know of
    the whole tensor (a norm, a threshold) it finds in `survey`, which runs once per tensor and should read it by
    `operands.chunks()`.

    Attributes:
        needs_base: the caller refuses to start without a base model.
        num_members: least and most members beside the base; None = any number.
        per_member: parameters that may differ between members; "weight" is always one of them.
        whole: True for methods that need the tensor in its shape (matrices, rows); `merge` then gets it unchunked.
        propagates: True where NaN or infinity in any operand always reaches the result, so that looking at the result is
            enough to find it.
        needs: statistics by name, e.g. ("fisher",); the caller refuses to start without them.
        draws: True where the result depends on the seed.
        neutral: values of the fields at which nothing is removed from a member, of methods that remove something.
    """

    needs_base: ClassVar[bool] = False
    num_members: ClassVar[tuple[int, int | None]] = (1, None)
    per_member: ClassVar[tuple[str, ...]] = ("weight",)
    whole: ClassVar[bool] = False
    propagates: ClassVar[bool] = False
    needs: ClassVar[tuple[str, ...]] = ()
    draws: ClassVar[bool] = False
    neutral: ClassVar[Mapping[str, float]] = {}

    def survey(self, operands: Operands) -> Any:
        """What `merge` must know of the whole tensor; None where it needs nothing.

        Args:
            operands: the whole tensor.
        """
        return None

    def merge(self, operands: Operands, survey: Any) -> Tensor:
        """The merged values.

        Args:
            operands: one chunk, (n,), or with `whole` the tensor in its shape. Not changed.
            survey: what `survey` returned for this tensor.

        Returns:
            A new fp32 tensor of the operands' shape; the caller casts it to the stored type.
        """
        raise TypeError(f"{type(self).__name__} defines no merge()")

    def check_weights(self, weights: tuple[float, ...], name: str) -> None:
        """Refuse weights the method cannot use, before anything is written.

        Args:
            weights: of the members, for the tensor `name`.
            name: of the tensor.

        Raises:
            CompressionError: naming the tensor and the weights.
        """

    def check_values(self, values: Mapping[str, tuple[float, ...]], members: tuple[str, ...], name: str) -> None:
        """Refuse per-member parameters the method cannot use, before anything is written.

        Args:
            values: by parameter, one number per member.
            members: their labels.
            name: of the tensor.

        Raises:
            CompressionError: naming the tensor, the member and the value.
        """
