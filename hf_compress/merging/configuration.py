"""The merge job as a value."""

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Literal

from hf_compress._errors import CompressionError
from hf_compress._kinds import CheckedKinds
from hf_compress.merging.compat import Compat
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.methods.linear import Linear

Value = float | list[float]
"""A number, or several to be interpolated over the depth of the model, first layer to last."""

BASE = "base"
"""The base model's label."""


@dataclass(frozen=True, kw_only=True)
class Member(metaclass=CheckedKinds):
    """One model that goes into the merge.

    Attributes:
        model: a folder or Hub id.
        weight: its weight; a list is a gradient over depth.
        name: its label in rules, errors and the manifest, and the key of its random numbers; by default `model`.
        adapter: a PEFT LoRA adapter (folder or Hub id) that is merged into the model's weights first.
        values: other per-member parameters of the method, e.g. {density: 0.5}.
        statistics: what data-aware methods need of this model: name -> folder written by `save_statistics`.
    """

    _takes: ClassVar[dict[str, Any]] = {"values": dict[str, bool | float | list[bool | float]]}

    model: str = field(kw_only=False)
    weight: Value = 1.0
    name: str | None = None
    adapter: str | None = None
    values: dict[str, Value] = field(default_factory=dict)
    statistics: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.model:
            raise CompressionError("model is empty; name a folder or a Hub id")
        if self.name == BASE:
            raise CompressionError(f"name={BASE!r} means the base model; choose another")

    @property
    def label(self) -> str:
        """How everything else names it."""
        return self.name or (f"{self.model}+{self.adapter}" if self.adapter else self.model)


@dataclass(frozen=True, kw_only=True)
class Rule(metaclass=CheckedKinds):
    """Other parameters for some tensors; later rules win over earlier ones and over the members' own.

    Attributes:
        match: a tensor name, or `re:` and a regular expression matched from its start; None = all.
        layers: [first, last + 1] layer numbers; None = all, those outside any layer too.
        member: the label of one member, for per-member parameters; None = all.
        set: parameter -> number, or a list of numbers to be interpolated over depth.
    """

    _takes: ClassVar[dict[str, Any]] = {"set": dict[str, bool | float | list[bool | float]]}

    match: str | None = None
    layers: tuple[int, ...] | None = None
    member: str | None = None
    set: dict[str, Value]

    def __post_init__(self) -> None:
        if self.layers is not None:
            object.__setattr__(self, "layers", tuple(self.layers))
            if len(self.layers) != 2 or not 0 <= self.layers[0] < self.layers[1]:
                raise CompressionError(f"layers={list(self.layers)} is not a range; write [first, last + 1], e.g. [0, 8]")
        if not self.set:
            raise CompressionError("set is empty; name a parameter and its number, e.g. {weight: 0.5}")


@dataclass(frozen=True, kw_only=True)
class LayerRange(metaclass=CheckedKinds):
    """Layers of one member.

    Attributes:
        member: its label ("base" for the base).
        layers: [first, last + 1].
    """

    member: str
    layers: tuple[int, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "layers", tuple(self.layers))
        if len(self.layers) != 2 or not 0 <= self.layers[0] < self.layers[1]:
            raise CompressionError(f"layers={list(self.layers)} is not a range; write [first, last + 1], e.g. [0, 8]")


@dataclass(frozen=True, kw_only=True)
class Slice(metaclass=CheckedKinds):
    """The next layers of the result, from one member (stacked) or from several of equal length (merged).

    Attributes:
        sources: where they come from.
    """

    sources: tuple[LayerRange, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", tuple(self.sources))
        lengths = {source.layers[1] - source.layers[0] for source in self.sources}
        if len(lengths) != 1:
            raise CompressionError(f"sources have {sorted(lengths)} layers; the sources of one slice need equally many")


@dataclass(frozen=True, kw_only=True)
class Tokenizer(metaclass=CheckedKinds):
    """Whose tokens the result has, when the members' vocabularies differ.

    Attributes:
        source: "base", "union", or a member's label.
        rows: for tokens of the result: token -> the label of the member whose row is taken, instead of the average over
            those who have it.
        missing_rows: the same for those models only that lack the token; the others keep their own row.
        pad_to_multiple_of: rows are added until this divides their number.
    """

    source: str = BASE
    rows: dict[str, str] = field(default_factory=dict)
    missing_rows: dict[str, str] = field(default_factory=dict)
    pad_to_multiple_of: int | None = None


@dataclass(frozen=True, kw_only=True)
class Heads(metaclass=CheckedKinds):
    """What happens to tensors whose first dimension differs because the members have other labels.

    Attributes:
        policy: "refuse"; "take" one member's; "drop": left out, to be trained anew; "concatenate": all labels behind one
            another, in the members' order.
        member: for "take": the label.
    """

    policy: Literal["refuse", "take", "drop", "concatenate"] = "refuse"
    member: str | None = None

    def __post_init__(self) -> None:
        if (self.policy == "take") != (self.member is not None):
            raise CompressionError("heads: `member` belongs to the policy take, and take needs it: whose head is kept?")


@dataclass(frozen=True, kw_only=True)
class Sparsity(metaclass=CheckedKinds):
    """What happens to the zeros of pruned members.

    Attributes:
        policy: "measure": only report (the average of two masks has fewer zeros); "union": keep where any member keeps;
            "intersection": keep where all keep; "base": keep where the base keeps; "prune": prune the result again by
            magnitude to `sparsity`.
        sparsity: for "prune": share of zeros per tensor; None = the highest of the members', tensor by tensor.
    """

    policy: Literal["measure", "union", "intersection", "base", "prune"] = "measure"
    sparsity: float | None = None

    def __post_init__(self) -> None:
        if self.sparsity is not None and (self.policy != "prune" or not 0 < self.sparsity < 1):
            raise CompressionError(
                f"sparsity={self.sparsity!r} with policy {self.policy!r}: a share of zeros between 0 and 1 belongs to the"
                " policy prune"
            )


@dataclass(frozen=True, kw_only=True)
class Merge(metaclass=CheckedKinds):
    """Which models become one, and how.

    Attributes:
        method: the formula.
        members: the models, in order.
        base: the model the members were fine-tuned from; needed by methods on task vectors. The result has its names,
            config and tokenizer; without a base those of the first member.
        base_adapter: a PEFT LoRA adapter (folder or Hub id) that is merged into the base's weights first.
        rules: other parameters for some tensors, layers, members.
        slices: layer stacking; None = the members' layers as they are.
        exclude: tensors (names or `re:` patterns) left out of the result.
        take: pattern -> label of the member whose tensor is copied instead of merged.
        tokenizer: alignment of vocabularies; None = all must be equal.
        chat_template: of the result's tokenizer: the template itself, or "auto": the one most inputs have; None = that of
            the input whose tokenizer it is.
        heads: members with other labels.
        sparsity: members with zeros.
        quantized: when members are quantized: "requantize" the result the way they were, with the error stated, or leave it
            "dense".
        dtype: the stored type; "auto" = the base's, tensor by tensor (with compat "mergekit" the widest of the inputs').
        input_dtype: what the inputs are converted to before they are merged, which rounds them if it is narrower; "auto" =
            they are read as they are stored.
        compat: whose numbers, where a library's differ from the paper's; passed on to the method.
        seed: of methods that draw random numbers.
        max_shard_size: bytes, as "5GB".
    """

    method: MergeMethod = field(default_factory=Linear)
    members: tuple[Member, ...]
    base: str | None = None
    base_adapter: str | None = None
    rules: tuple[Rule, ...] = ()
    slices: tuple[Slice, ...] | None = None
    exclude: tuple[str, ...] = ()
    take: dict[str, str] = field(default_factory=dict)
    tokenizer: Tokenizer | None = None
    chat_template: str | None = None
    heads: Heads = field(default_factory=Heads)
    sparsity: Sparsity = field(default_factory=Sparsity)
    quantized: Literal["requantize", "dense"] = "requantize"
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    input_dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    compat: Compat = "paper"
    seed: int = 0
    max_shard_size: str = "5GB"

    def plain(self) -> "Merge":
        """Without the fields that a subclass adds (where to write, how to call it): what makes the numbers."""
        return Merge(**{item.name: getattr(self, item.name) for item in fields(Merge)})
