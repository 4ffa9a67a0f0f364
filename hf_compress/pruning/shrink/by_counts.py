"""What a plan's counts leave, before anything says which parts those are."""

from typing import Any

from hf_compress.architectures.architecture import Architecture
from hf_compress.pruning.shrink.check_hidden import check_numbers
from hf_compress.pruning.shrink.dimensions import Dimensions
from hf_compress.pruning.shrink.legal import first_ones
from hf_compress.pruning.shrink.pieces import Kept, check_stock, pieces_of
from hf_compress.pruning.shrink.plan import ShrinkPlan
from hf_compress.pruning.shrink.smaller_model import built_smaller


def by_counts(model: Any, architecture: Architecture, dimensions: Dimensions, plan: ShrinkPlan) -> tuple[Kept, Any]:
    """The first of each part, as many as a plan keeps, and the model's class with the smaller config, without memory.

    Args:
        model: perhaps without memory.
        architecture: its row.
        dimensions: its counts.
        plan: how much stays.

    Raises:
        CompressionError: the plan's numbers are not legal, or the class would build something else than what is cut.
    """
    kept = first_ones(model, architecture, dimensions, plan)
    built = built_smaller(model, architecture, dimensions, kept)
    pieces = pieces_of(model, architecture, dimensions, kept, built)
    check_stock(built, model, pieces)
    if kept.channels is not None:
        check_numbers(model, pieces, built)
    return kept, built
