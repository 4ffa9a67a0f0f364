"""The training metrics of TRL's SFTTrainer, which it computes inside the loss that distillation replaces."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from hf_compress.distillation.objective import Sums


class TokenMetrics:
    """entropy, mean_token_accuracy, num_tokens and aux_loss, summed on the device and gathered when they are logged.

    Over the tokens since the last log, where TRL takes a mean of the means of micro-batches.

    Args:
        wanted: the host logs them.
        routers: ask mixture-of-experts models for their load-balancing loss, as the host does.
    """

    def __init__(self, wanted: bool, routers: bool) -> None:
        self.wanted = wanted
        self.routers = routers
        self._sums: list[Tensor] = []
        self._tokens: Tensor | None = None

    @classmethod
    def of(cls, trainer: Any) -> "TokenMetrics":
        """Those of a trainer; of any but SFTTrainer none."""
        return cls(
            wanted=hasattr(trainer, "_total_train_tokens"), routers=bool(getattr(trainer, "aux_loss_enabled", False))
        )

    def ask_routers(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """The student's inputs."""
        return {**inputs, "output_router_logits": True} if self.routers else inputs

    def note(self, sums: Sums, inputs: Mapping[str, Any], outputs: Any) -> None:
        """Add one micro-batch."""
        if not self.wanted:
            return
        assert sums.entropy is not None and sums.correct is not None
        zero = sums.entropy.new_zeros(())
        if "attention_mask" in inputs:
            tokens = inputs["attention_mask"].sum()
        else:  # flattened: every place holds a token
            tokens = torch.tensor(next(inputs[key].shape[1] for key in ("position_ids", "input_ids") if key in inputs))
        self._tokens = tokens if self._tokens is None else self._tokens + tokens
        auxiliary = getattr(outputs, "aux_loss", None)
        values = [
            sums.entropy,
            sums.correct,
            sums.items,
            zero if auxiliary is None else auxiliary.detach().float(),
            zero + 1,
        ]
        self._sums = [a + b for a, b in zip(self._sums, values, strict=True)] if self._sums else values

    def catch_up(self, trainer: Any) -> None:
        """Bring the host's count of tokens up to date, which evaluation reports."""
        if self._tokens is None:
            return
        tokens, self._tokens = self._tokens.to(trainer.args.device), None
        trainer._total_train_tokens += int(trainer.accelerator.gather(tokens).sum()) // trainer.get_tp_size()

    def logs(self, trainer: Any) -> dict[str, float]:
        """What the host would log for training, over all processes; begins anew."""
        if not self._sums:
            return {}
        self.catch_up(trainer)
        stacked, self._sums = torch.stack(self._sums).unsqueeze(0), []
        entropy, correct, items, auxiliary, batches = trainer.accelerator.gather(stacked).sum(0).tolist()
        logs = {
            "entropy": entropy / max(items, 1),
            "mean_token_accuracy": correct / max(items, 1),
            "num_tokens": trainer._total_train_tokens,
        }
        return logs | ({"aux_loss": auxiliary / batches} if self.routers else {})
