"""Models that spell what is said frame by frame, in parallel: each frame's distributions become one."""

from typing import Any

from torch import Tensor
from transformers.modeling_outputs import CausalLMOutput
from transformers.utils.generic import can_return_tuple

from hf_compress._errors import CompressionError
from hf_compress._modules.heard_loss import heard_loss
from hf_compress.ensembling.modelling.parallel import ParallelEnsemble

_SAME = {
    "inputs_to_logits_ratio": "samples to a frame, so frames do not lie side by side; members must have one frame rate",
    "pad_token_id": "as the id of the blank; members must have one vocabulary",
}
"""What members' configs must agree on, and why."""


class ParallelEnsembleForCTC(ParallelEnsemble):
    """Members of one vocabulary and one frame rate, combined frame by frame; the loss is CTC's, of the combined frames.

    Source: Graves et al. (2006), Connectionist Temporal Classification, https://doi.org/10.1145/1143844.1143891.
    """

    for_heads = ("AutoModelForCTC",)

    def __init__(self, config: Any, members: Any = None) -> None:
        super().__init__(config, members)
        for key, rule in _SAME.items():
            first, *others = [getattr(member.config, key, None) for member in self.members]
            for name, own in zip(config.names[1:], others, strict=True):
                if own != first:
                    raise CompressionError(f"member {name!r} has {own} {rule} (member {config.names[0]!r} has {first})")
        # Pipelines find the time of a frame by it.
        ratio = getattr(self.members[0].config, "inputs_to_logits_ratio", None)
        if ratio is not None:
            config.inputs_to_logits_ratio = ratio

    @can_return_tuple  # type: ignore[untyped-decorator]
    def forward(  # type: ignore[override]
        self,
        input_values: Tensor | None = None,
        attention_mask: Tensor | None = None,
        input_features: Tensor | None = None,
        labels: Tensor | None = None,
        **others: Any,
    ) -> CausalLMOutput:
        """Combined log-probabilities (B, T, V) of every frame, and the loss where labels are given.

        Args:
            input_values: (B, N) samples.
            attention_mask: 0 where a row is silence that fills it up.
            input_features: spectrograms, in place of samples.
            labels: (B, L) what is said, -100 where nothing counts.
            **others: inputs of further processors.

        Raises:
            CompressionError: a member got no inputs, answers NaN and is not left out, or has other frames.
        """
        inputs = {"input_values": input_values, "attention_mask": attention_mask, "input_features": input_features}
        own = self.member_inputs({**inputs, **others})
        if labels is None:
            return CausalLMOutput(logits=self.fused([output.logits for output in self.ask(own)]))  # type: ignore[arg-type]
        first: Any = self.members[0]
        with heard_loss(first) as heard:
            outputs = [first(**own[0], labels=labels.to(self.device_of(first)))]
        if "logit_lengths" not in heard:
            raise CompressionError(
                f"member {self.config.names[0]!r} does not say how many frames its samples become, which the loss needs;"
                " leave labels out, or update transformers"
            )
        outputs += [member(**read) for member, read in zip(self.members[1:], own[1:], strict=True)]
        fused = self.fused([output.logits for output in outputs])
        heard["logit_lengths"] = heard["logit_lengths"].to(fused.device)
        loss = self.loss_function(fused, labels.to(fused.device), **heard)
        return CausalLMOutput(loss=loss, logits=fused)  # type: ignore[arg-type]
