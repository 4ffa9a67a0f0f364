"""The k largest magnitudes of members' vectors, without holding them."""

import dataclasses
from collections.abc import Callable, Iterator, Sequence

from torch import Tensor

from hf_compress import _selection
from hf_compress._selection import Chunk, Cut
from hf_compress.merging.operands import Operands

Vector = Callable[[Operands, int], Tensor]
"""(operands, member) -> a new, finite fp32 tensor of the operands' shape; elementwise, so a part gives that part."""


def find_cuts(operands: Operands, counts: Sequence[Sequence[int]], vector: Vector) -> list[list[Cut]]:
    """The cuts that keep `counts[member]` elements of each member's vector; see `hf_compress._selection`.

    Args:
        operands: the whole tensor.
        counts: M sequences of how many elements stay, each in [0, num_elements].
        vector: whose magnitudes count.

    Returns:
        For each member one cut per count, in the order given.
    """

    def chunks() -> Iterator[Chunk]:
        for chunk in operands.chunks():
            yield lambda member, chunk=chunk: vector(chunk, member).abs_()  # type: ignore[misc]

    def sample(member: int, stride: int) -> Tensor:
        base = None if operands.base is None else operands.base.reshape(-1)[::stride]
        tensors = tuple(tensor.reshape(-1)[::stride] for tensor in operands.tensors)
        part = dataclasses.replace(operands, tensors=tensors, base=base, statistics={}, num_elements=tensors[0].numel())
        return vector(part, member).abs_()

    return _selection.find_cuts(chunks, counts, operands.num_elements, sample)
