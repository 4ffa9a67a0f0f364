"""With what something was made, and when: for manifests, cards and reports."""

import datetime
import importlib.metadata
import platform

from hf_compress._version import __version__

_PACKAGES = ("torch", "transformers", "accelerate", "datasets", "compressed-tensors", "safetensors")
"""Those that can change a weight or a number of a report."""


def versions() -> dict[str, str]:
    """Of hf_compress, Python and the packages that it computes with."""
    return {
        "hf_compress": __version__,
        "python": platform.python_version(),
        **{package: importlib.metadata.version(package) for package in _PACKAGES},
    }


def today() -> str:
    """The date as ISO 8601 has it, in UTC, so that it does not say where a machine stands."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()
