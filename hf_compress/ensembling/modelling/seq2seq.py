"""Models that read one text and write another, in parallel: at each token their distributions become one."""

from typing import Any

from torch import Tensor
from transformers.modeling_outputs import Seq2SeqLMOutput
from transformers.utils.generic import can_return_tuple

from hf_compress.ensembling.modelling.cache import CACHE, MembersCache
from hf_compress.ensembling.modelling.encoder import MembersEncoder, begun, encoded_of, start_of
from hf_compress.ensembling.modelling.generating import GeneratingEnsemble


class ParallelEnsembleForSeq2SeqLM(GeneratingEnsemble):
    """Members with one tokenizer, of any architectures and widths; each member's encoder reads the input once.

    p(t | before, input) = combiner over m of p_m(t | before, input). Each member begins with its own
    `decoder_start_token_id`.
    """

    for_heads = ("AutoModelForSeq2SeqLM",)

    def get_encoder(self, modality: str | None = None) -> MembersEncoder:
        """All members' encoders as one module.

        Args:
            modality: what transformers asks models with several encoders for; here it changes nothing.
        """
        return MembersEncoder(self)

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        input_features: Tensor | None = None,
        input_values: Tensor | None = None,
        decoder_input_ids: Tensor | None = None,
        decoder_attention_mask: Tensor | None = None,
        encoder_outputs: Any = None,
        past_key_values: Any = None,
        cache: Any = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        **others: Any,
    ) -> Seq2SeqLMOutput:
        """Combined log-probabilities of the next token at every place that is written, and the caches of all members.

        Args:
            input_ids: (B, S) tokens that are read.
            attention_mask: (B, S), 0 where a row is padding.
            inputs_embeds: (B, S, H) in place of `input_ids`, of members of one width.
            input_features: of sound, as spectrograms.
            input_values: of sound, as samples.
            decoder_input_ids: (B, T) tokens that are written so far, from the ensemble's start token on.
            decoder_attention_mask: (B, past + T), 0 where a row is padding.
            encoder_outputs: what the module of `get_encoder` made, in place of the inputs.
            past_key_values: what an earlier call gave back.
            cache: the same, by its newer name.
            labels: (B, T), -100 where nothing counts; without `decoder_input_ids` each member makes its own of them.
            use_cache: give back the caches.
            **others: what else members read.

        Raises:
            CompressionError: a cache of one model, or the states of one encoder.
        """
        inputs = {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "inputs_embeds": inputs_embeds,
            "input_features": input_features,
            "input_values": input_values,
        }
        held = self.held(past_key_values if cache is None else cache, bool(use_cache))
        written = {"decoder_input_ids": decoder_input_ids, "decoder_attention_mask": decoder_attention_mask}
        labels = None if labels is None else labels.contiguous()  # losses look at them as one long row
        if decoder_input_ids is None:
            written["labels"] = labels
        logits, new = [], []
        for place, own in enumerate(self._read(inputs, encoder_outputs, others)):
            known = held.of_members[place]
            member = self.members[place]
            output = member(**own, **self._written(written, member, known), **{CACHE: known}, use_cache=bool(use_cache))
            logits.append(output.logits)
            new.append(output.get(CACHE))
        fused = self.fused(logits)
        loss = None if labels is None else self._loss(fused, labels)
        kept = MembersCache(new) if use_cache and all(one is not None for one in new) else None
        return Seq2SeqLMOutput(loss=loss, logits=fused, **{CACHE: kept})  # type: ignore[arg-type]

    def _read(self, inputs: dict[str, Any], encoder_outputs: Any, others: dict[str, Any]) -> list[dict[str, Any]]:
        """What each member reads: its inputs, or what its encoder made of them."""
        if encoder_outputs is None:
            return self.member_inputs({**inputs, **others})
        states = encoded_of(encoder_outputs, len(self.members), lambda place: self.device_of(self.members[place]))
        mask = inputs["attention_mask"]
        return [
            {"encoder_outputs": one} | ({} if mask is None else {"attention_mask": mask.to(self.device_of(member))})
            for one, member in zip(states, self.members, strict=True)
        ]

    def _written(self, written: dict[str, Any], member: Any, cache: Any) -> dict[str, Any]:
        """What is given to a member's decoder, on its device and from its own start token on."""
        device = self.device_of(member)
        own = {key: value.to(device) for key, value in written.items() if value is not None}
        if "decoder_input_ids" in own and (cache is None or not cache.get_seq_length()):
            own["decoder_input_ids"] = begun(own["decoder_input_ids"], start_of(self), start_of(member))
        return own
