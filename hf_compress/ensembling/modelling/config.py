"""What a saved ensemble says of itself: its members, what they are for, and how their answers become one."""

from collections.abc import Mapping
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from hf_compress._errors import CompressionError
from hf_compress.ensembling.combiner import Combiner, check_weights

NAN_RULES = ("refuse", "leave_out")
GENERATING = ("AutoModelForCausalLM", "AutoModelForSeq2SeqLM", "AutoModelForSpeechSeq2Seq")
"""Heads whose models write token by token."""
EXECUTIONS = ("auto", "sequential", "stacked", "devices")


class EnsembleConfig(PreTrainedConfig):
    """Of any ensemble; each kind has a subclass with a `model_type` of its own.

    Attributes:
        members: one mapping each: `name`; `folder` below the ensemble's, or `model` and `revision` on the Hub; and
            `config`, the member's own.
        auto_class: of the members' heads, e.g. "AutoModelForSequenceClassification".
        combiner: how answers become one: {"name": ..., arguments}.
        weights: of the members, not negative, in any unit; None: all count the same.
        temperatures: each member's logits are divided by its own first; None: all 1.
        input_groups: which processor prepares what a member reads: 0 is the ensemble's own, and inputs of others have the
            number behind their name (`input_ids_1`).
        on_nan: "refuse" an answer that is not a number, naming the member, or "leave_out" the member in that batch.
        execution: how members are asked, see `Execution`: auto, sequential, stacked or devices.
    """

    model_type = "ensemble"
    members: list[dict[str, Any]] | None = None
    auto_class: str | None = None
    combiner: dict[str, Any] | None = None
    weights: list[float] | None = None
    temperatures: list[float] | None = None
    input_groups: list[int] | None = None
    on_nan: str = "refuse"
    execution: str = "auto"

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self.combiner = self.combiner or {"name": "mean_probabilities"}
        if self.on_nan not in NAN_RULES:
            raise CompressionError(f"on_nan={self.on_nan!r} is unknown (known: {', '.join(NAN_RULES)})")
        self.check_way()
        if self.members is None:  # a config without arguments, which transformers makes to compare with
            return
        self.input_groups = self.input_groups or [0] * len(self.members)
        for name in ("temperatures", "input_groups"):
            values = getattr(self, name)
            if values is not None and len(values) != len(self.members):
                raise CompressionError(f"{name} has {len(values)} entries for {len(self.members)} members; give one each")
        check_weights(self.weights, len(self.members), self.names)
        for name, value in zip(self.names, self.temperatures or (), strict=False):
            if not 0 < value < float("inf"):
                raise CompressionError(f"the temperature of member {name!r} is {value}; it must be above 0")

    def check_way(self) -> None:
        """Refuse a way to ask members that is unknown, or that this kind has no use for.

        Raises:
            CompressionError: saying which there are.
        """
        check_execution(self.execution)
        if self.execution in ("stacked", "devices") and str(self.auto_class) in GENERATING:
            raise CompressionError(
                f"execution={self.execution!r}: members that write keep a cache each, and are asked one after the other;"
                " write auto or sequential"
            )

    @property
    def names(self) -> list[str]:
        """Of the members, in order."""
        return [member["name"] for member in self.members or []]

    def member_configs(self) -> list[PreTrainedConfig]:
        """The members' own."""
        return [config_of(dict(member["config"])) for member in self.members or []]


def check_execution(execution: str) -> None:
    """Refuse an unknown way to ask members.

    Raises:
        CompressionError: with those that there are.
    """
    if execution not in EXECUTIONS:
        raise CompressionError(f"execution={execution!r} is unknown (known: {', '.join(EXECUTIONS)})")


def config_of(plain: dict[str, Any]) -> PreTrainedConfig:
    """A member's config from plain data; members may be ensembles themselves."""
    model_type = plain.pop("model_type")
    own = own_config(model_type)
    return AutoConfig.for_model(model_type, **plain) if own is None else own.from_dict(plain)


def own_config(model_type: str) -> type[EnsembleConfig] | None:
    """The class for one of this file's kinds of ensemble; transformers may not know them."""
    found = [EnsembleConfig]
    for kind in found:
        found += kind.__subclasses__()
    return next((kind for kind in found if kind.model_type == model_type), None)


def plain_combiner(combiner: str | Mapping[str, Any] | Combiner) -> dict[str, Any]:
    """A combiner as a config holds it; it is made once, so that a wrong one is refused here."""
    if isinstance(combiner, Combiner):
        return {"name": combiner.name, **vars(combiner)}
    plain = {"name": combiner} if isinstance(combiner, str) else dict(combiner)
    if "name" not in plain:
        raise CompressionError(f"combiner={plain!r} has no name; write {{name: mean_probabilities}}")
    Combiner.create(**plain)
    return plain
