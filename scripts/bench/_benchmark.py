"""What the bench_*.py scripts share: who measured, interleaved repeats, ratios with their spread, one text at the end."""

import argparse
import contextlib
import datetime
import gc
import importlib.metadata
import os
import platform
import shlex
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

# Read once, when torch loads its thread pool. Threads that spin while they wait make any other busy process on the machine
# show up as a slowdown of many times, and of the cases with many short kernels most.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch

from hf_compress._provenance import processor

Case = Callable[[], object]


def parser(description: str, repeats: int) -> argparse.ArgumentParser:
    """The options every benchmark has."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    made.add_argument("--repeats", type=int, default=repeats, help="timed rounds; every case runs once in each round")
    made.add_argument("--threads", type=int, default=torch.get_num_threads(), help="torch threads")
    made.add_argument("--seed", type=int, default=0, help="of the random inputs")
    made.add_argument("--out", type=Path, default=None, help="also write the text to this file; nothing is written without")
    return made


def prepare(options: argparse.Namespace) -> None:
    """Refuse too few repeats; set threads and seed."""
    if options.repeats < 5:
        raise SystemExit(f"--repeats {options.repeats} shows no spread; take 5 or more")
    torch.set_num_threads(options.threads)
    torch.manual_seed(options.seed)


def header(title: str, packages: Sequence[str] = ()) -> str:
    """Title, machine, versions, date and command."""
    versions = [f"Python {platform.python_version()}", f"torch {torch.__version__}"]
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{package} {importlib.metadata.version(package)}")
    gpus = [torch.cuda.get_device_name(one) for one in range(torch.cuda.device_count())]
    command = shlex.join(["python", *[Path(sys.argv[0]).as_posix(), *sys.argv[1:]]])
    return "\n".join(
        [
            title,
            "",
            f"machine   {processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} torch threads"
            f" (OMP_WAIT_POLICY={os.environ['OMP_WAIT_POLICY']}), {', '.join(gpus) or 'CPU only'}",
            f"versions  {', '.join(versions)}",
            f"load      {os.getloadavg()[0]:.2f} runnable processes in the last minute, before the start",
            f"date      {datetime.datetime.now(datetime.UTC).date().isoformat()}",
            f"command   {command}",
        ]
    )


def interleaved(
    cases: dict[str, Case], repeats: int, warmups: int = 1, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds per case and round; of the CPU with `clock=time.process_time`, which other processes prolong less.

    All cases run in every round, starting one further each time, so that a slow spell of the machine hits all of them and
    a ratio inside one round compares like with like.
    """
    for _ in range(warmups):
        for run in cases.values():
            run()
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    names = list(cases)
    for number in range(repeats):
        first = number % len(names)
        for name in [*names[first:], *names[:first]]:
            gc.collect()
            start = clock()
            cases[name]()
            seconds[name].append(clock() - start)
    return seconds


def milliseconds(seconds: Sequence[float]) -> str:
    """Median and range."""
    low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
    digits = 1 if middle >= 0.01 else 3
    return f"{middle * 1e3:.{digits}f} ({low * 1e3:.{digits}f}-{high * 1e3:.{digits}f})"


def ratio(seconds: Sequence[float], floor: Sequence[float]) -> str:
    """Median and range of the ratios of the same round."""
    ratios = [a / b for a, b in zip(seconds, floor, strict=True)]
    digits = 2 if statistics.median(ratios) >= 0.1 else 4
    return f"{statistics.median(ratios):.{digits}f}x ({min(ratios):.{digits}f}-{max(ratios):.{digits}f})"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A markdown table with aligned columns."""
    widths = [max(len(line[column]) for line in [head, *rows]) for column in range(len(head))]
    lines = [" | ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)) for line in [head, *rows]]
    rule = " | ".join("-" * width for width in widths)
    return "\n".join(f"| {line} |" for line in [lines[0], rule, *lines[1:]])


def emit(parts: Sequence[str], out: Path | None) -> None:
    """Print; write only where asked to."""
    text = "\n\n".join(parts) + "\n"
    print(text, end="")
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text)


def progress(what: str) -> None:
    """A sign of life on stderr, so that stdout is the result alone."""
    print(f"... {what}", file=sys.stderr, flush=True)
