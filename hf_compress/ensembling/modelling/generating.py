"""What ensembles share that write text: the way of generating, and a cache for each member."""

import copy
from typing import Any

from torch import Tensor
from transformers import DynamicCache, EncoderDecoderCache, GenerationMixin

from hf_compress._errors import CompressionError
from hf_compress.ensembling.modelling.cache import CACHE, MembersCache
from hf_compress.ensembling.modelling.parallel import ParallelEnsemble


class GeneratingEnsemble(ParallelEnsemble, GenerationMixin):
    """Chooses tokens one after the other; `generate` works in all its modes, by the first member's generation config."""

    def __init__(self, config: Any, members: Any = None) -> None:
        super().__init__(config, members)
        first = getattr(self.members[0], "generation_config", None)
        if first is not None:
            self.generation_config = copy.deepcopy(first)

    def new_cache(self) -> MembersCache:
        """An empty cache for each member."""
        return MembersCache([new_cache_of(member) for member in self.members])

    def held(self, given: Any, use_cache: bool) -> MembersCache:
        """The members' caches; those of a forward that keeps none are None.

        Args:
            given: what an earlier call gave back, or None; another cache only while it is empty.
            use_cache: keep what is computed.

        Raises:
            CompressionError: a cache of one model that has seen tokens.
        """
        if isinstance(given, MembersCache):
            return given
        if given is not None and (type(given) not in (DynamicCache, EncoderDecoderCache) or given.get_seq_length()):
            raise CompressionError(
                f"a {type(given).__name__} is for one model, and an ensemble keeps one for each member; give it the"
                f" {CACHE} that it gave back, or none"
            )
        return self.new_cache() if use_cache else MembersCache([None] * len(self.members))

    def generate(self, inputs: Tensor | None = None, *args: Any, **kwargs: Any) -> Any:  # type: ignore[override]
        """As `GenerationMixin.generate`, with a growing cache for each member.

        Raises:
            CompressionError: another kind of cache is asked for.
        """
        config = kwargs.get("generation_config") or (args[0] if args else None) or self.generation_config
        asked = kwargs.get("cache_implementation", config.cache_implementation)
        if asked not in (None, "dynamic"):
            raise CompressionError(
                f"cache_implementation={asked!r}: an ensemble keeps one growing cache for each member; leave it out"
            )
        uses = kwargs.get("use_cache", config.use_cache)
        given = kwargs.pop("past_key_values", None)
        if kwargs.get("cache") is None and (given is not None or uses is not False):
            kwargs[CACHE] = self.new_cache() if given is None else given
        return super().generate(inputs, *args, **kwargs)  # type: ignore[misc]


def new_cache_of(member: Any) -> Any:
    """An empty cache for one model: of an encoder-decoder for what is written and for what was read."""
    if isinstance(member, GeneratingEnsemble):
        return member.new_cache()
    if not member.config.is_encoder_decoder:
        return DynamicCache(config=member.config)
    config = member.config.get_text_config(decoder=True)
    return EncoderDecoderCache(DynamicCache(config=config), DynamicCache(config=config))
