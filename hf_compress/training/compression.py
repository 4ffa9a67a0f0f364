"""What is done to a model while it trains, as one value."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self

from hf_compress._kinds import require
from hf_compress._paths import in_public, public_names
from hf_compress._registry import Strategy, dump
from hf_compress.calibration.configuration import Calibration
from hf_compress.distillation.configuration import Distillation
from hf_compress.pruning.configuration import Pruning
from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.scheme import Scheme


@dataclass(frozen=True, kw_only=True)
class Compression:
    """The techniques of one run, and the data they see; iterating gives (name, value) of those that are on, in the order of
    the fields.

    Signatures that users call keep one keyword per technique; behind them this travels.

    Attributes:
        pruning: gradual pruning, or None.
        quantization: quantization-aware training, or None.
        distillation: a teacher and losses, or None.
        calibration: which examples statistics are collected on, or None; not a technique.

    Raises:
        CompressionError: a technique is not of its class, with the form to write.
    """

    pruning: Pruning | None = None
    quantization: Quantization | None = None
    distillation: Distillation | None = None
    calibration: Calibration | None = None

    def __post_init__(self) -> None:
        for name, given in self:
            wanted, form = _FORMS[name]
            require(given, wanted, form(given))

    @classmethod
    def among(cls, parts: Mapping[str, Any]) -> Self:
        """Those that stand among other things under their names, as in a recipe; absent ones are off."""
        return cls(**{field.name: parts.get(field.name) for field in dataclasses.fields(cls)})

    def __iter__(self) -> Iterator[tuple[str, Any]]:
        found = ((field.name, getattr(self, field.name)) for field in dataclasses.fields(self))
        return ((name, value) for name, value in found if value is not None)

    def __bool__(self) -> bool:
        return self.edits_weights or self.distillation is not None

    @property
    def edits_weights(self) -> bool:
        """Pruning or quantization is on."""
        return self.pruning is not None or self.quantization is not None

    def strategies(self) -> list[Strategy]:
        """Every strategy that takes part, technique by technique, in the order of their fields."""
        return [found for _, technique in self for found in _strategies(technique)]

    @property
    def keeps_zeros(self) -> bool:
        """Zeros are kept, by no strategy."""
        return self.pruning is not None and self.pruning.keeps_zeros

    def to_public(self) -> dict[str, Any]:
        """All of it as plain data that may be published: where a teacher's folder lies is left out, its name is not."""
        return _public(dump(self, full=True))

    def difference(self, known: Mapping[str, Any]) -> str | None:
        """How a checkpoint was trained otherwise than this, as a sentence part; None where it was not.

        Args:
            known: what `to_public` of its run has written.
        """
        # Through JSON, as the other side went: tuples become lists.
        wanted = json.loads(json.dumps(self.to_public()))
        before = _public({name: known.get(name) for name in wanted})
        for name, here in wanted.items():
            if before[name] != here:
                return f"with {name}={json.dumps(before[name])} and this run has {name}={json.dumps(here)}"
        return None


NOTHING = Compression()


def _public(plain: dict[str, Any]) -> dict[str, Any]:
    named: dict[str, Any] = in_public(plain, public_names(plain))
    return named


def _strategies(value: Any) -> Iterator[Strategy]:
    """A strategy, and those in the fields of a dataclass."""
    if isinstance(value, Strategy):
        yield value
    elif isinstance(value, Pruning) and value.keeps_zeros:  # its criterion and the others have no say
        return
    elif isinstance(value, Quantization):  # of `scheme` and `groups` only one is meant
        yield from value.schemes
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _strategies(item)
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _strategies(getattr(value, field.name))


def _pruning_form(given: Any) -> str:
    final = given if isinstance(given, float) and 0 <= given < 1 else 0.5
    return f"pruning=Pruning(schedule=Cubic(final={final:g}))"


def _quantization_form(given: Any) -> str:
    given = getattr(given, "name", given)
    scheme = given if isinstance(given, str) and given in Scheme.available() else "W8A8"
    return f'quantization=Quantization(scheme="{scheme}")'


def _distillation_form(given: Any) -> str:
    teacher = given if isinstance(given, str) else "folder or Hub id"
    return f'distillation=Distillation(teacher=ModelTeacher(model="{teacher}"))'


def _calibration_form(given: Any) -> str:
    return "calibration=Calibration(num_examples=128)"


_FORMS = {
    "pruning": (Pruning, _pruning_form),
    "quantization": (Quantization, _quantization_form),
    "distillation": (Distillation, _distillation_form),
    "calibration": (Calibration, _calibration_form),
}
"""The class of each field, and how to write what was probably meant."""
