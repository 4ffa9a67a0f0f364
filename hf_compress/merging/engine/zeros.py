"""Members with zeros: measuring them, and what the result keeps of them.

A tensor counts as pruned in a source when it has two or more dimensions and more than 1 % of its elements are exactly zero
(-0.0 too). Biases and norms, and the few zeros that training leaves by chance, stay as they are.
"""

import logging
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from hf_compress._errors import CompressionError
from hf_compress._selection import largest
from hf_compress.merging.configuration import BASE, Sparsity
from hf_compress.merging.operands import CHUNK

logger = logging.getLogger(__name__)

PRUNED_SHARE = 0.01
"""More zeros than this share make a tensor pruned."""
_SAMPLE = 2**16
"""Elements looked at before a tensor is counted in full: reading every dense tensor twice would double the merge's time."""
_SUSPICIOUS = 0.001
"""Share of zeros in the sample above which it is counted. A tensor with 1 % zeros passes below it with a probability of
e^-400 where they lie at random; the odd stride keeps pruned rows and columns from hiding behind a power of two."""


@dataclass(frozen=True, kw_only=True)
class TensorZeros:
    """What is known of one tensor's zeros.

    Attributes:
        name: the tensor's.
        num_elements: in it.
        members: label -> zeros; 0 for members that the sample shows to be dense.
        base: zeros of the base; None without one.
        pruned: whether the policy touches this tensor: some source counts as pruned.
        highest: the largest share of zeros among the members.
    """

    name: str
    num_elements: int
    members: Mapping[str, int]
    base: int | None
    pruned: bool
    highest: float


class ZerosPolicy:
    """Applies the policy tensor by tensor: `survey`, then `apply` to each merged chunk, then `finish` on the whole result.

    It notes what it saw for the report; several threads may work on different tensors.
    """

    def __init__(self, setting: Sparsity, labels: Sequence[str]) -> None:
        """Args:
        setting: the recipe's.
        labels: of the members, in the order of the tensors.
        """
        self.setting, self.labels = setting, tuple(labels)
        self.rows: dict[str, dict[str, int]] = {}
        self._lock = threading.Lock()

    def survey(
        self, name: str, tensors: Sequence[Tensor], base: Tensor | None, labels: Sequence[str] | None = None
    ) -> TensorZeros:
        """Count the zeros of every source.

        Args:
            name: of the tensor.
            tensors: the members', whole, in the order of `labels`.
            base: the base's, or None.
            labels: of the members that have this tensor, where layers are stacked; None = all.

        Raises:
            CompressionError: the policy is "base" and there is none.
        """
        if self.setting.policy == "base" and base is None:
            raise CompressionError("sparsity policy base keeps where the base keeps, and there is no base; name one")
        counts = [_zeros_if_pruned(tensor) for tensor in tensors]
        base_count = None if base is None else _zeros_if_pruned(base)
        size = tensors[0].numel()
        everything = [*counts, base_count or 0]
        return TensorZeros(
            name=name,
            num_elements=size,
            members=dict(zip(self.labels if labels is None else labels, counts, strict=True)),
            base=base_count,
            pruned=tensors[0].dim() >= 2 and any(count > PRUNED_SHARE * size for count in everything),
            highest=max(counts) / size if size else 0.0,
        )

    def apply(self, zeros: TensorZeros, merged: Tensor, members: Sequence[Tensor], base: Tensor | None) -> Tensor:
        """Zero what the mask policies do not keep, in place, element by element.

        union: kept where any member is not zero; intersection: where all are not; base: where the base is not. The other
        policies leave the chunk as it is.

        Args:
            zeros: of this tensor.
            merged: one chunk of the result, any shape. Changed.
            members: the same chunk of every member.
            base: the same chunk of the base, or None.

        Returns:
            `merged`.
        """
        policy = self.setting.policy
        if not zeros.pruned or policy in ("measure", "prune"):
            return merged
        if policy == "base":
            assert base is not None, zeros.name
            return merged.masked_fill_(base == 0, 0)
        drop = members[0] == 0
        for member in members[1:]:
            drop = drop & (member == 0) if policy == "union" else drop | (member == 0)
        return merged.masked_fill_(drop, 0)

    def finish(self, zeros: TensorZeros, result: Tensor) -> Tensor:
        """Prune the whole result again where the policy says so, and note its zeros.

        Args:
            zeros: of this tensor.
            result: whole, in the stored type. Changed.

        Returns:
            `result`.
        """
        if zeros.pruned and self.setting.policy == "prune":
            share = zeros.highest if self.setting.sparsity is None else self.setting.sparsity
            prune_smallest_(result, round(share * result.numel()))
        if zeros.pruned:
            self.note(zeros, count_zeros(result))
        return result

    def note(self, zeros: TensorZeros, count: int) -> None:
        """Write down the zeros of one result tensor, for the report."""
        row = {"num_elements": zeros.num_elements, **zeros.members}
        if zeros.base is not None:
            row[BASE] = zeros.base
        with self._lock:
            self.rows[zeros.name] = {**row, "result": count}

    def needs_whole(self, zeros: TensorZeros) -> bool:
        """True where `finish` must see the whole result; otherwise its zeros can be counted chunk by chunk."""
        return zeros.pruned and self.setting.policy == "prune"

    def report(self) -> dict[str, Any]:
        """Shares of zeros of every source and of the result, per tensor and over all tensors that count as pruned.

        Without any, {} where zeros were only to be measured, and a note where a policy found nothing to do.
        """
        policy = self.setting.policy
        if not self.rows:
            note = f"no weight of any model has more than {PRUNED_SHARE:.0%} zeros, so it had nothing to do"
            if policy != "measure":
                logger.warning("sparsity policy %s: %s", policy, note)
            return {} if policy == "measure" else {"policy": policy, "note": note}
        columns = list(dict.fromkeys(key for row in self.rows.values() for key in row if key != "num_elements"))
        total = sum(row["num_elements"] for row in self.rows.values())
        return {
            "policy": policy,
            "overall": {key: sum(row.get(key, 0) for row in self.rows.values()) / total for key in columns},
            "tensors": {
                name: {key: row[key] / row["num_elements"] for key in row if key != "num_elements"}
                for name, row in sorted(self.rows.items())
            },
        }


def count_zeros(tensor: Tensor) -> int:
    """Elements that are exactly zero; counted in chunks."""
    flat = tensor.reshape(-1)
    return sum(part.numel() - int(torch.count_nonzero(part)) for part in flat.split(CHUNK))


def _zeros_if_pruned(tensor: Tensor) -> int:
    """The zeros of a weight, or 0 where a sample shows that it is dense."""
    size = tensor.numel()
    if tensor.dim() < 2 or not size or not tensor.is_floating_point():
        return 0
    if size > 4 * _SAMPLE:
        sample = tensor.reshape(-1)[:: (size // _SAMPLE) | 1]
        if sample.numel() - int(torch.count_nonzero(sample)) <= _SUSPICIOUS * sample.numel():
            return 0
    return count_zeros(tensor)


def prune_smallest_(tensor: Tensor, count: int) -> Tensor:
    """Zero exactly the `count` elements of smallest magnitude, in place; of equal ones those with the higher index.

    Args:
        tensor: any floating type and shape, contiguous. Changed.
        count: 0 <= count <= its size; zeros that are there already count.
    """
    flat = tensor.view(-1)
    cut = largest(lambda: map(_magnitudes, flat.split(CHUNK)), flat.numel() - count, flat.numel())
    for place, part in enumerate(flat.split(CHUNK)):
        part.masked_fill_(~cut.mask(_magnitudes(part), place * CHUNK), 0)
    return tensor


def _magnitudes(part: Tensor) -> Tensor:
    return (part if part.itemsize >= 4 else part.float()).abs()
