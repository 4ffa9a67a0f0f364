"""What a merge left behind, and what is told of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_compress._units import format_bytes
from hf_compress.checkpoints.dequantized import DequantizedSource
from hf_compress.merging.configuration import Merge
from hf_compress.merging.plan.account import Account


@dataclass(frozen=True, kw_only=True)
class MergeResult:
    """What a merge left behind.

    Attributes:
        folder: the merged checkpoint.
        account: where every tensor went.
        merge: the job, with labels and models as others may read them.
        inputs: label -> file -> SHA-256.
        loads: what loading it back said.
        architecture: the transformers class that loads it; None where transformers has none.
        num_bytes: of the tensors.
        seconds: wall time of the streaming.
        resumed: files that an earlier, interrupted merge had finished.
        reports: what one set of names, aligning vocabularies, choosing heads, the policy for zeros and copying files did,
            as plain data by those names.
        quantized: the inputs whose integers were unpacked, by label.
        quantization: config.json of the first of them, {} without any.
    """

    folder: Path
    account: Account
    merge: Merge
    inputs: dict[str, dict[str, str]]
    loads: str
    architecture: str | None
    num_bytes: int
    seconds: float
    resumed: int = 0
    reports: dict[str, Any] = field(default_factory=dict)
    quantized: Mapping[str, DequantizedSource] = field(default_factory=dict)
    quantization: Mapping[str, Any] = field(default_factory=dict)

    def summary(self) -> str:
        """What the command line says at the end."""
        counts = self.account.counts()
        rate = self.num_bytes / max(self.seconds, 1e-9)
        lines = [
            f"{counts['merged']} tensors merged, {counts['copied']} copied, {counts['excluded']} left out by rule;"
            f" {format_bytes(self.num_bytes)} in {self.seconds:.1f} s ({format_bytes(rate)}/s)"
            + (f", {self.resumed} files from an interrupted merge" if self.resumed else ""),
            self.loads,
            *report_lines(self.reports),
            f"model and card  {self.folder}",
        ]
        return "\n".join(lines)


def report_lines(reports: Mapping[str, Any]) -> list[str]:
    """The reports of a merge as sentences, for the card and the command line."""
    lines = []
    for name, report in reports.items():
        shown = report.get("overall", report) if name == "zeros" else report
        lines.append(f"{name}: {_listed(shown)}")
    return lines


def _listed(values: Mapping[str, Any]) -> str:
    """Numbers and words by name; one level of mappings in brackets, longer ones are the manifest's."""
    parts = []
    for key, value in values.items():
        if isinstance(value, str | int | float):
            parts.append(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}")
        elif isinstance(value, Mapping) and 0 < len(value) <= 8 and all(isinstance(one, float) for one in value.values()):
            parts.append(f"{key} ({_listed(value)})")
    return ", ".join(parts)
