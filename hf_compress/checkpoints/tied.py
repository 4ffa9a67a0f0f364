"""Weights that several modules share, as transformers decides it: by the configs, and by what is stored."""

from collections.abc import Sequence

import torch

from hf_compress.checkpoints.names import ModelNames
from hf_compress.checkpoints.source import Source


def tied_tensors(sources: Sequence[Source]) -> dict[str, str]:
    """Tensor -> the one whose weight it shares when the model is loaded; such duplicates need not be stored.

    The rule is that of `from_pretrained`: `tie_word_embeddings` of the model's whole config and, for each model inside it,
    of that one's config; and of two stored tensors that differ neither is a duplicate, whatever a config says.

    Args:
        sources: under the same names; the first one's config is the result's.

    Returns:
        For every stored duplicate, in whichever source, the name that is kept; only where it is equal in all sources.

    Raises:
        CompressionError: the class refuses the first source's config.
    """
    infos = {name: info for source in reversed(sources) for name, info in source.infos.items()}
    names = ModelNames(sources[0].config, infos, sources[0].place)
    tied = {}
    for owner in dict.fromkeys(names.tied.values()):
        stored = [names.tensor_of[parameter] for parameter in names.tied_group(owner) if parameter in names.tensor_of]
        for duplicate in stored[1:]:
            if all(_is_duplicate(source, duplicate, stored[0]) for source in sources if duplicate in source.infos):
                tied[duplicate] = stored[0]
    return tied


def _is_duplicate(source: Source, name: str, kept: str) -> bool:
    return kept in source.infos and torch.equal(source.read(name), source.read(kept))
