"""Forward passes as distillation needs them: what the losses ask for, and no cache that nobody reads."""

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from hf_compress._errors import CompressionError, reason_of
from hf_compress.distillation.signal import NO_LAYERS, Layers, Need, Signal
from hf_compress.tasks.heads import base_model

logger = logging.getLogger(__name__)

_SETTINGS = {"use_cache": False, "return_dict": True}
"""With a cache, transformers does not separate the documents of a flattened batch: a teacher that has one would read across
them, and the student, whose cache the Trainer switches off, would not."""


class Answers:
    """Sets a model's configs for the time of a forward pass, and takes what is asked for out of the output.

    Args:
        model: a transformers model, maybe wrapped; its configs are as before outside of `settings()`. For attention maps it
            is switched to the attention that computes them, and stays so.
        needs: what is asked for.
        who: how a refusal calls the model.

    Raises:
        CompressionError: more than logits is asked for, and the model has two stacks of layers, or an attention that builds
            no maps.
    """

    def __init__(self, model: nn.Module, needs: tuple[Need, ...] = ("logits",), who: str = "the student") -> None:
        self._needs = needs
        self._who = f"{who} ({type(model).__name__})"
        self._settings: dict[str, Any] = {**_SETTINGS}
        inside = [need for need in needs if need != "logits"]
        if inside:
            check_inside(getattr(base_model(model), "config", None), needs, self._who)
            self._settings |= {f"output_{need}": True for need in inside}
        if "attentions" in needs:
            _attend_eagerly(base_model(model), self._who)
        configs = (getattr(module, "config", None) for module in model.modules())
        self._configs = {id(config): config for config in configs if hasattr(config, "to_dict")}.values()
        try:
            with self.settings():
                pass
        except ValueError as error:
            raise CompressionError(
                f"{self._who} cannot return {' and '.join(inside)} ({reason_of(error)}); take losses on logits"
            ) from error

    @contextlib.contextmanager
    def settings(self) -> Iterator[None]:
        """Inside, the forward returns named outputs with what is asked for, and builds no cache."""
        before: list[tuple[Any, str, Any]] = []
        try:
            for config in self._configs:
                for name, value in self._settings.items():
                    known = getattr(config, name, value)
                    if known is not value:
                        setattr(config, name, value)
                        before.append((config, name, known))
            yield
        finally:
            for config, name, known in before:
                setattr(config, name, known)

    def signal(self, outputs: Any) -> Signal:
        """What was asked for.

        Raises:
            CompressionError: the output does not have it.
        """
        return Signal(
            logits=logits_of(outputs, self._who) if "logits" in self._needs else None,
            hidden_states=self._layers(outputs, "hidden_states"),
            attentions=self._layers(outputs, "attentions"),
        )

    def _layers(self, outputs: Any, need: Need) -> Layers:
        if need not in self._needs:
            return NO_LAYERS
        found = getattr(outputs, need, None)
        layers = found if isinstance(found, tuple | list) else ()
        dimensions = _DIMENSIONS[need]
        if not layers or not all(isinstance(one, Tensor) and one.dim() == len(dimensions) for one in layers):
            raise CompressionError(
                f"{self._who} returns {type(outputs).__name__} without {need.replace('_', ' ')} of shape"
                f" ({', '.join(dimensions)}), which a loss of this distillation compares; take losses on logits"
            )
        return Layers(layers)


_DIMENSIONS = {"hidden_states": ("B", "T", "D"), "attentions": ("B", "heads", "T", "T")}


def check_inside(config: Any, needs: tuple[Need, ...], who: str) -> None:
    """Refuse a model with two stacks of layers, where "layer 3" would not say which.

    Raises:
        CompressionError: the config is that of an encoder-decoder, and more than logits is asked for.
    """
    inside = [need.replace("_", " ") for need in needs if need != "logits"]
    if inside and getattr(config, "is_encoder_decoder", False):
        raise CompressionError(
            f"losses on {' and '.join(inside)} compare models with one stack of layers, and {who} is an encoder-decoder;"
            " take losses on logits"
        )


def _attend_eagerly(model: Any, who: str) -> None:
    """Fused kernels never build the maps."""
    if getattr(model.config, "_attn_implementation", "eager") != "eager" and hasattr(model, "set_attn_implementation"):
        logger.info("%s computes its attention eagerly from here on, because a loss compares attention maps", who)
        model.set_attn_implementation("eager")


def logits_of(outputs: Any, who: str) -> Tensor:
    """The logits of an output; of an answer in a text those of its beginning and its end, (B, 2, T).

    Raises:
        CompressionError: there are none.
    """
    logits = getattr(outputs, "logits", None)
    ends = [getattr(outputs, name, None) for name in ("start_logits", "end_logits")]
    if logits is None and all(isinstance(one, Tensor) for one in ends):
        return torch.stack(ends, dim=1)  # type: ignore[arg-type]
    if not isinstance(logits, Tensor):
        raise CompressionError(f"{who} returns {type(outputs).__name__} without logits, which distillation compares")
    return logits
