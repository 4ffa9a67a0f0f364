"""How results are measured."""

from dataclasses import dataclass

from hf_compress.inputs.sections import _positive


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """How the report is measured.

    Attributes:
        batch_size: examples at once.
        untrained: also measure the dense model compressed the same way without training.
    """

    batch_size: int = 16
    untrained: bool = True

    def __post_init__(self) -> None:
        _positive(self.batch_size, "batch_size")
