"""What was measured, as data and as tables."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hf_compress._units import format_bytes
from hf_compress.evaluation.cost.rounds import Speedup
from hf_compress.evaluation.report import cell

BY_ITSELF = (
    "each interval of speed holds by itself in 95 of 100 cases: of {number} comparisons one may be wrong, and more of more"
)


@dataclass(frozen=True, kw_only=True)
class Timing:
    """One thing that was timed.

    Attributes:
        model: whose.
        runtime: what computed.
        what: "forward" (one pass), "first token" (the prompt is read, one token written) or "next token" (by the cache).
        batch: rows.
        inputs: name -> shape.
        first_s: seconds of the first call, which of a compiled model is compiling; None where it is not told apart.
        median_s, p95_s: over the rounds, of one pass or one token.
        per_s: rows in a second, or tokens of all rows; by the median.
        speedup: over the baseline of the same rounds; None without one.
    """

    model: str
    runtime: str
    what: str
    batch: int
    inputs: dict[str, tuple[int, ...]]
    first_s: float | None
    median_s: float
    p95_s: float
    per_s: float
    speedup: Speedup | None = None

    @property
    def shape(self) -> str:
        """Of the main input: "1 x 128"."""
        return " x ".join(map(str, next(iter(self.inputs.values()))))


@dataclass(frozen=True, kw_only=True)
class ModelCost:
    """One model.

    Attributes:
        name: what it is.
        storage: see `measure_storage`.
        parameters: see `count_parameters`.
        macs: shape of the inputs, in words -> see `count_macs`.
        memory: see `measure_memory`; None where it was not asked for.
        dtype: in which it was loaded.
        prepare_s: runtime -> seconds of exporting the model for it.
    """

    name: str
    storage: dict[str, Any]
    parameters: dict[str, Any]
    macs: dict[str, int]
    memory: dict[str, Any] | None
    dtype: str
    prepare_s: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class CostReport:
    """The costs of one model, or of two that took turns.

    Attributes:
        models: the baseline first.
        timings: of all.
        setting: where it was measured.
        remarks: what must be known of the numbers, a sentence each.
    """

    models: tuple[ModelCost, ...]
    timings: tuple[Timing, ...]
    setting: dict[str, str]
    remarks: tuple[str, ...]

    def to_plain(self, full: bool = True) -> dict[str, Any]:
        """For report.json."""
        return json.loads(json.dumps(dataclasses.asdict(self)))  # type: ignore[no-any-return]

    def latencies(self) -> dict[str, float]:
        """Model -> median milliseconds of one forward pass in eager, of the smallest batch and the first length."""
        passes = [one for one in self.timings if (one.what, one.runtime) == ("forward", "eager")]
        smallest = min((one.batch for one in passes), default=0)
        return {one.model: 1000 * one.median_s for one in reversed(passes) if one.batch == smallest}

    @classmethod
    def from_plain(cls, data: Mapping[str, Any]) -> "CostReport":
        """Back from report.json."""
        timings = [
            {
                **one,
                "inputs": {key: tuple(shape) for key, shape in one["inputs"].items()},
                "speedup": None if one["speedup"] is None else Speedup(**one["speedup"]),
            }
            for one in data["timings"]
        ]
        return cls(
            models=tuple(ModelCost(**one) for one in data["models"]),
            timings=tuple(Timing(**one) for one in timings),
            setting=dict(data["setting"]),
            remarks=tuple(data["remarks"]),
        )


def remarks_of(timings: Sequence[Timing], baseline: str) -> tuple[str, ...]:
    """Where the rounds do not show that compression made something faster: a sentence for each model and runtime; and
    what an interval says where there are several.
    """
    slow: dict[tuple[str, str], list[str]] = {}
    for one in timings:
        fast = one.speedup
        if fast is not None and not fast.faster:
            text = f"{one.what} {one.shape} ({fast.median:.2f}x, {fast.low:.2f} to {fast.high:.2f})"
            slow.setdefault((one.model, one.runtime), []).append(text)
    said = [
        f"not faster: {model} is not shown to be faster than {baseline} in {runtime}: {', '.join(found)}"
        for (model, runtime), found in slow.items()
    ]
    compared = sum(one.speedup is not None for one in timings)
    return (*said, *([BY_ITSELF.format(number=compared)] if compared > 1 else []))


def cost_tables(report: CostReport) -> str:
    """Markdown: one table of sizes, one of times, the remarks."""
    remarks = "".join(f"\n- {remark}" for remark in report.remarks)
    return f"{_markdown(size_lines(report))}\n\n{_markdown(time_lines(report))}\n{remarks}".rstrip()


def size_lines(report: CostReport) -> list[list[str]]:
    """A line for every model, behind a header."""
    lines = [["model", "on disk", "bits per weight", "parameters", "not zero", "MACs", "peak memory"]]
    for model in report.models:
        macs = next(iter(model.macs.items()), None)
        memory = model.memory
        bits = model.storage["bits_per_weight"]
        lines.append(
            [
                model.name,
                format_bytes(model.storage["file_bytes"]),
                "-" if bits is None else f"{bits:.2f}",
                f"{model.parameters['total']:,}",
                f"{model.parameters['nonzero']:,}",
                "-" if macs is None else f"{macs[1]:.4g} ({macs[0]})",
                "-" if memory is None or memory["peak_bytes"] is None else _memory(memory),
            ]
        )
    return lines


def time_lines(report: CostReport) -> list[list[str]]:
    """A line for everything that was timed, behind a header."""
    lines = [["model", "runtime", "what", "inputs", "median", "p95", "per second", "speed"]]
    for one in report.timings:
        fast = one.speedup
        lines.append(
            [
                one.model,
                one.runtime,
                one.what,
                one.shape,
                format_s(one.median_s),
                format_s(one.p95_s),
                f"{one.per_s:.4g}",
                "-" if fast is None else f"{fast.median:.2f}x ({fast.low:.2f} to {fast.high:.2f})",
            ]
        )
    return lines


def _memory(memory: dict[str, Any]) -> str:
    before = memory["before_bytes"]
    more = f", {format_bytes(before)} of it before loading" if before else ""
    return format_bytes(memory["peak_bytes"]) + more


def format_s(seconds: float) -> str:
    """0.0123 -> '12.3 ms'."""
    return f"{seconds:.3g} s" if seconds >= 1 else f"{seconds * 1e3:.3g} ms"


def _markdown(lines: Sequence[Sequence[str]]) -> str:
    lines = [[cell(text) for text in line] for line in lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = [" | ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines]
    rule = " | ".join("-" * width for width in widths)
    return "\n".join(f"| {row} |" for row in (rows[0], rule, *rows[1:]))
