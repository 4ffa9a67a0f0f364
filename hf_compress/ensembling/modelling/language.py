"""Language models in parallel: at each token their distributions become one, and the token is taken from it."""

import dataclasses
from typing import Any

import torch
from torch import Tensor
from transformers.modeling_outputs import CausalLMOutputWithPast
from transformers.utils.generic import can_return_tuple

from hf_compress._errors import CompressionError
from hf_compress.ensembling.confidence import Confidence
from hf_compress.ensembling.modelling.cache import CACHE, MembersCache, behind, num_tokens, tokens_of
from hf_compress.ensembling.modelling.generating import GeneratingEnsemble
from hf_compress.ensembling.modelling.parallel import ParallelConfig
from hf_compress.ensembling.modelling.threshold import TokenAccount


class ParallelEnsembleForCausalLM(GeneratingEnsemble):
    """Members with one tokenizer, token by token; `generate` works in all its modes, with a cache for each member.

    p(t | before) = combiner over m of p_m(t | before). With a threshold it is p_0(t | before) where the first member's
    confidence is at least that, and members that no row of a batch needs are not asked: they read what they have missed
    when they are asked next, so that no token changes by it.
    """

    for_heads = ("AutoModelForCausalLM",)
    config: ParallelConfig

    def __init__(self, config: Any, members: Any = None) -> None:
        super().__init__(config, members)
        self._account = TokenAccount()

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
        held = self.held(past_key_values if cache is None else cache, bool(use_cache))
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, "position_ids": position_ids, **others}
        own = self.member_inputs(inputs)
        options = {"use_cache": use_cache, "logits_to_keep": logits_to_keep}
        outputs = [self.members[0](**own[0], **{CACHE: held.of_members[0]}, **options)]
        alone = None if self._asks_all() else self._alone(outputs[0].logits)
        sure = None if alone is None else self._sure(alone)
        if alone is not None and sure is not None and bool(sure.all()):
            fused = alone
            for place in range(1, len(own)):
                held.waiting[place] = behind(held.waiting[place], tokens_of(own[place]))
        else:
            outputs += [self._caught_up(place, own[place], held, options) for place in range(1, len(own))]
            fused = self.fused([output.logits for output in outputs])
            if alone is not None and sure is not None:
                fused = torch.where(sure[..., None], alone, fused)
        if sure is not None:
            self._count(sure, asked=len(outputs) > 1)
        new = [output.get(CACHE) for output in outputs]
        new += held.of_members[len(new) :]
        loss = None if labels is None else self._loss(fused, labels)
        kept = MembersCache(new, held.waiting) if use_cache and all(one is not None for one in new) else None
        return CausalLMOutputWithPast(loss=loss, logits=fused, **{CACHE: kept})  # type: ignore[arg-type]

    def account(self, restart: bool = False) -> TokenAccount:
        """How often the members behind the first were asked, since the ensemble was made or an account began anew.

        Args:
            restart: begin anew behind it.

        Raises:
            CompressionError: the config has no threshold, so all are always asked.
        """
        if self.config.threshold is None:
            raise CompressionError("all members are asked about every token; set config.threshold to leave some out")
        found = self._account
        if restart:
            self._account = TokenAccount()
        return dataclasses.replace(found)

    @property
    def num_classes(self) -> int:
        """Tokens that all members know."""
        members: list[Any] = list(self.members)
        return min(
            one.num_classes if isinstance(one, ParallelEnsembleForCausalLM) else one.config.get_text_config().vocab_size
            for one in members
        )

    def _asks_all(self) -> bool:
        """No threshold, or a graph that is compiled and cannot branch."""
        return self.config.threshold is None or torch.compiler.is_compiling()

    def _alone(self, logits: Tensor) -> Tensor:
        """The first member's log-probabilities (B, T, C)."""
        scale = 1.0 if self.config.temperatures is None else self.config.temperatures[0]
        own = self.ordered(logits, 0)[..., : self.num_classes]
        return (own.float() / scale).log_softmax(-1)

    def _sure(self, alone: Tensor) -> Tensor:
        """(B, T) where the first member decides; nowhere in a batch in which it says NaN, which is the others' matter."""
        sure = Confidence.create(self.config.confidence).score(alone) >= float(self.config.threshold or 0)
        return sure & ~alone.isnan().any()

    def _caught_up(self, place: int, own: dict[str, Any], held: MembersCache, options: dict[str, Any]) -> Any:
        """What a member says of these tokens, after it has read those that it was not asked about."""
        late, keep = num_tokens(held.waiting[place]), options["logits_to_keep"]
        if late:
            # Places count from the first token that the member reads now.
            keep = keep + late if isinstance(keep, Tensor) else keep or num_tokens(tokens_of(own))
            own = {**own, **behind(held.waiting[place], tokens_of(own))}
            held.waiting[place] = {}
        return self.members[place](**own, **{CACHE: held.of_members[place]}, **{**options, "logits_to_keep": keep})

    def _count(self, sure: Tensor, asked: bool) -> None:
        self._account.tokens += sure.numel()
        self._account.unsure += int((~sure).sum())
        self._account.passes += 1
        self._account.asked += asked
