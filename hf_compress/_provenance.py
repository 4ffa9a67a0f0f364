"""With what something was made, and when: for manifests, cards and reports."""

import contextlib
import datetime
import functools
import importlib.metadata
import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING

from hf_compress._version import __version__

if TYPE_CHECKING:
    import torch

_PACKAGES = ("torch", "transformers", "accelerate", "datasets", "compressed-tensors", "safetensors")
"""Those that can change a weight or a number of a report."""


def versions() -> dict[str, str]:
    """Of hf_compress, Python and the packages that it computes with."""
    return {
        "hf_compress": __version__,
        "python": platform.python_version(),
        **{package: version(package) for package in _PACKAGES},
    }


@functools.cache
def version(package: str) -> str:
    """Of an installed package; to look it up takes milliseconds."""
    return importlib.metadata.version(package)


def today() -> str:
    """The date as ISO 8601 has it, in UTC, so that it does not say where a machine stands."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def describe_machine(device: "torch.device") -> dict[str, str]:
    """Machine, versions and date, for a report's setting; `device` is where it was measured."""
    import torch

    machine = torch.cuda.get_device_name(device) if device.type == "cuda" else f"{processor()}, {os.cpu_count()} cores"
    known = versions()
    packages = ", ".join(f"{name} {known[name]}" for name in ("torch", "transformers", "compressed-tensors"))
    return {"machine": machine, "versions": f"Python {known['python']}, {packages}", "date": today()}


def processor() -> str:
    """The name that the maker gave it, where the system says it."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
