"""Whether the inputs of a merge are models of one kind."""

from collections.abc import Sequence

from hf_compress._errors import CompressionError
from hf_compress.checkpoints.architecture import log_differences
from hf_compress.checkpoints.source import Source


def check_model_types(sources: Sequence[Source]) -> None:
    """Refuse members of several architectures: equal names and shapes can mean other computations.

    What else the configs disagree about (the number of heads, an activation) is logged.

    Raises:
        CompressionError: naming two sources and their model types.
    """
    known = [source for source in sources if source.config]
    for source in known[1:]:
        first = known[0]
        kinds = [each.config.get("model_type") for each in (first, source)]
        if kinds[0] != kinds[1]:
            raise CompressionError(
                f"{first.label} ({first.place}) is a {kinds[0]} and {source.label} ({source.place}) a {kinds[1]} by their"
                " config.json; models of two architectures do not merge, even where names and shapes agree"
            )
        log_differences(first.label, first.config, source.label, source.config)
