"""Language models in parallel: at each token their distributions become one, and the token is taken from it."""

import dataclasses
from typing import Any

from torch import Tensor
from transformers import DynamicCache, GenerationMixin
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils.generic import can_return_tuple

from hf_compress._errors import CompressionError
from hf_compress.ensembling.modelling.cache import MembersCache
from hf_compress.ensembling.modelling.parallel import ParallelEnsemble

CACHE = next(one.name for one in dataclasses.fields(CausalLMOutputWithPast) if one.name in ("cache", "past_key_values"))
"""What transformers calls the cache of a forward: `past_key_values`, and `cache` since 5.24."""


class ParallelEnsembleForCausalLM(ParallelEnsemble, GenerationMixin):
    """Members with one tokenizer, token by token; `generate` works in all its modes, with a cache for each member.

    p(t | before) = combiner over m of p_m(t | before).
    """

    for_heads = ("AutoModelForCausalLM",)

    def __init__(self, config: Any, members: Any = None) -> None:
        super().__init__(config, members)
        first = getattr(self.members[0], "generation_config", None)
        if first is not None:
            self.generation_config = type(first).from_dict(first.to_dict())

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
            kwargs[CACHE] = MembersCache(self._new_caches()) if given is None else given
        return super().generate(inputs, *args, **kwargs)  # type: ignore[misc]

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Any = None,
        cache: Any = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        **others: Any,
    ) -> CausalLMOutputWithPast:
        """Combined log-probabilities of the next token at every place, and the caches of all members.

        Args:
            input_ids: (B, T) tokens.
            attention_mask: (B, past + T), 0 where a row is padding.
            position_ids: (B, T), for members that take them.
            past_key_values: what an earlier call gave back; another cache only while it is empty.
            cache: the same, by its newer name.
            labels: (B, T), -100 where nothing counts.
            use_cache: give back the caches.
            logits_to_keep: the last places that logits are wanted for; 0 for all.
            **others: what further processors made.

        Raises:
            CompressionError: a cache of one model that has seen tokens.
        """
        caches = self._caches(past_key_values if cache is None else cache, bool(use_cache))
        logits, new = [], []
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": position_ids, **others}
        for member, own, known in zip(self.members, self.member_inputs(inputs), caches, strict=True):
            output = member(**own, **{CACHE: known}, use_cache=use_cache, logits_to_keep=logits_to_keep)
            logits.append(output.logits)
            new.append(output.get(CACHE))
        fused = self.fused(logits)
        loss = None if labels is None else self._loss(fused, labels)
        kept = MembersCache(new) if use_cache and all(one is not None for one in new) else None
        return CausalLMOutputWithPast(loss=loss, logits=fused, **{CACHE: kept})  # type: ignore[arg-type]

    def _caches(self, given: Any, use_cache: bool) -> list[Any]:
        if isinstance(given, MembersCache):
            return given.of_members
        if given is not None and (type(given) is not DynamicCache or given.get_seq_length()):
            raise CompressionError(
                f"a {type(given).__name__} is for one model, and an ensemble keeps one for each member; give it the"
                f" {CACHE} that it gave back, or none"
            )
        if not use_cache:
            return [None] * len(self.members)
        return self._new_caches()

    def _new_caches(self) -> list[Any]:
        return [DynamicCache(config=config) for config in (member.config for member in self.members)]  # type: ignore[arg-type]
