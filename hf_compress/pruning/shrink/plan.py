"""How much of a model stays when it is shrunk."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hf_compress._errors import CompressionError
from hf_compress._kinds import CheckedKinds, describe
from hf_compress._registry import Reference, dump
from hf_compress._units import check_share

_REFERENCE = Reference(
    authors="Muralidharan et al.",
    title="Compact Language Models via Pruning and Knowledge Distillation",
    year=2024,
    link="https://arxiv.org/abs/2407.14679",
)

Importance = Literal["weights", "activations", "taylor"]
"""What units, heads and channels are chosen by."""


@dataclass(frozen=True, kw_only=True)
class UsedVocabulary(metaclass=CheckedKinds):
    """The rows of the vocabulary that a recipe's training rows use; see `shrink_vocabulary` for what stays besides.

    Attributes:
        keep: pieces to keep whether they are used or not, as the tokenizer spells them.
    """

    keep: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class ShrinkPlan(metaclass=CheckedKinds):
    """What to keep; what is not named stays whole.

    A whole number says how many to keep; a number between 0 and 1 says which share, rounded to the nearest whole number and
    at least one. In the place of counts a budget says how large the model may be at most.

    Where an architecture has several stacks of layers, such as an encoder and a decoder, a number is one for each of them,
    and a mapping of their names says them apart, as in `layers={"encoder": 6, "decoder": 2}`; a stack that it does not name
    stays whole. What the config has one number for cannot be said apart.

    Attributes:
        feed_forward: units of each layer's feed-forward part.
        heads: query heads of each layer. Where several share a head of keys and values they go together, so that the
            number is one of whole groups.
        hidden: channels of the hidden states, the same for the whole model: the config's hidden size.
        experts: of each layer that has a mixture of them.
        layers: how many layers, which calibration chooses; or the places of those that stay, from 0.
        vocabulary: of its rows those that the training rows of a recipe use; they go before anything else is chosen. Here,
            where there are no rows and no tokenizer, it is refused: call `shrink_vocabulary`.
        depth: how layers that only are counted are chosen: all at once by their influence, or one after the other by the
            loss without them, which is slower and better.
        parameters: at most this share of the model's parameters stays ("60%", or 0.6); counts that are not named are found.
        macs: the same of the multiplications of a pass.
        candidates: how many counts within a budget are tried on real loss.
        multiple_of: the feed-forward units that a budget leaves are a multiple of this, or all.
        importance: what units, heads and channels are chosen by: the norms of their weights, what they write on calibration
            batches, or how the loss of labelled batches would change without them. None: activations where there are
            batches, weights where there are none. A budget's counts are compared by activations.
    """

    feed_forward: int | float | dict[str, int | float] | None = None
    heads: int | float | dict[str, int | float] | None = None
    hidden: int | float | None = None
    experts: int | float | dict[str, int | float] | None = None
    layers: int | float | tuple[int, ...] | dict[str, int | float | tuple[int, ...]] | None = None
    vocabulary: UsedVocabulary | None = None
    depth: Literal["influence", "loss"] = "influence"
    parameters: float | str | None = None
    macs: float | str | None = None
    candidates: int = 5
    multiple_of: int = 8
    importance: Importance | None = None

    def __post_init__(self) -> None:
        asked: dict[str, Any] = {
            name: getattr(self, name) for name in ("feed_forward", "heads", "hidden", "experts", "layers")
        }
        if self.depth not in ("influence", "loss"):
            raise CompressionError(
                f"ShrinkPlan(depth={self.depth!r}): layers are chosen by influence or by loss; write one"
            )
        counted = any(isinstance(value, int | float) for value in _of_any(self.layers))
        if self.depth == "loss" and not self.has_budget and not counted:
            raise CompressionError("ShrinkPlan(depth='loss'): no number of layers is to be chosen; leave it out")
        for name in ("candidates", "multiple_of"):
            if getattr(self, name) < 1:
                raise CompressionError(f"ShrinkPlan({name}={getattr(self, name)}) must be 1 or more")
        for name in ("parameters", "macs"):
            if getattr(self, name) is not None:
                check_share(getattr(self, name), name)
        if self.has_budget and self.experts is not None:
            raise CompressionError(
                "ShrinkPlan(experts=...) beside a budget: a budget finds layers, heads and units, and counts all experts;"
                " take experts out first, then give the budget to what is left"
            )
        whole = all(value is None or value == {} for value in asked.values()) and not self.has_budget
        if whole and self.vocabulary is None:
            raise CompressionError(
                "ShrinkPlan() keeps everything; say what stays: feed_forward, heads, hidden, experts, layers or vocabulary"
                " (in a recipe `vocabulary: {}`), or a budget: parameters or macs"
            )
        if whole and self.importance is not None:
            raise CompressionError(
                f"ShrinkPlan(importance={self.importance!r}) beside the vocabulary alone: nothing is chosen by it; leave it"
                " out"
            )
        for name, value in asked.items():
            if isinstance(value, Mapping):
                checked: Any = {stack: _checked(f"{name}.{stack}", name, one) for stack, one in value.items()}
            else:
                checked = _checked(name, name, value)
            object.__setattr__(self, name, checked)

    @property
    def method(self) -> dict[str, Any]:
        """What was done, for manifests and cards: kind, name, options, summary and reference."""
        return {
            "kind": "structural pruning",
            "name": "shrink",
            "options": dump(self),
            "summary": "Takes feed-forward units, heads, experts, layers, channels of the hidden states and rows of the"
            " vocabulary out.",
            "reference": str(_REFERENCE),
        }

    @property
    def parts(self) -> "ShrinkPlan | None":
        """What is asked of the model behind its vocabulary; None where that is all."""
        asked = (self.feed_forward, self.heads, self.hidden, self.experts, self.layers)
        if all(value is None or value == {} for value in asked) and not self.has_budget:
            return None
        return dataclasses.replace(self, vocabulary=None)

    def require_parts(self) -> None:
        """Refuse rows of a vocabulary, where there is no tokenizer to see which are used.

        Raises:
            CompressionError: with the function that takes one.
        """
        if self.vocabulary is not None:
            raise CompressionError(
                "ShrinkPlan(vocabulary=...): which rows are used is seen in the training rows of a recipe, and here is"
                " none; call shrink_vocabulary(model, tokenizer, texts) first, and leave vocabulary out"
            )

    @property
    def has_budget(self) -> bool:
        """Whether counts are left open."""
        return self.parameters is not None or self.macs is not None

    @property
    def measures(self) -> bool:
        """Whether examples, where there are some, have a say in what stays."""
        settings = ("vocabulary", "depth", "candidates", "multiple_of", "importance")
        fields = (getattr(self, field.name) for field in dataclasses.fields(self) if field.name not in settings)
        return any(value is not None and not isinstance(value, tuple) for asked in fields for value in _of_any(asked))

    @property
    def needs_calibration(self) -> str:
        """The field that only examples can fill in: a budget, how many layers and not which; empty without one."""
        for name in ("parameters", "macs", "experts"):
            if getattr(self, name) is not None:
                return name
        if any(isinstance(value, int | float) for value in _of_any(self.layers)):
            return "layers"
        return "importance" if self.importance in ("activations", "taylor") else ""


def _of_any(asked: Any) -> list[Any]:
    """What is asked of any stack."""
    return list(asked.values()) if isinstance(asked, Mapping) else [asked]


def _checked(where: str, part: str, value: Any) -> Any:
    """What is asked of a part, of one stack or of each; what is no number is found by the annotations."""
    if part != "layers" and isinstance(value, list | tuple | Mapping):
        raise CompressionError(
            f"ShrinkPlan({where}=...): {describe(value)} given, and a config of transformers has one number for all"
            " layers; give one, the same for each"
        )
    if isinstance(value, list | tuple):
        return _places(where, value)
    if isinstance(value, int | float) and not isinstance(value, bool):
        _check_amount(where, value)
    return value


def of_stack(asked: Any, name: str) -> Any:
    """What is asked of one stack; None where all stays."""
    return asked.get(name) if isinstance(asked, Mapping) else asked


def _places(where: str, value: list[Any] | tuple[Any, ...]) -> tuple[Any, ...]:
    if not value or not all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in value):
        raise CompressionError(
            f"ShrinkPlan({where}={list(value)}): the places of the layers that stay are whole numbers from 0, at least one"
        )
    if len(set(value)) < len(value):
        raise CompressionError(f"ShrinkPlan({where}={list(value)}) names a layer twice; name each that stays once")
    return tuple(sorted(value))


def _check_amount(name: str, value: int | float) -> None:
    if isinstance(value, int) and value < 1:
        raise CompressionError(f"ShrinkPlan({name}={value}): at least 1 must stay")
    if isinstance(value, float) and not 0 < value < 1:
        raise CompressionError(
            f"ShrinkPlan({name}={value}): a share that stays lies between 0 and 1, and how many stay is a whole number"
        )


def amount_of(asked: int | float, total: int) -> int:
    """The whole number that is meant: itself, or the share of `total`, at least 1."""
    return max(int(asked * total + 0.5), 1) if isinstance(asked, float) else asked
