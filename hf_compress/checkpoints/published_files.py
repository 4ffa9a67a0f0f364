"""Which files of a folder go to the Hub, and which of those that lie there a later version replaces."""

import fnmatch
from pathlib import Path

from hf_compress._safetensors import INDEX
from hf_compress.checkpoints.hashes import ADAPTER
from hf_compress.checkpoints.manifest import MANIFEST
from hf_compress.checkpoints.weight_files import PROGRAMS

CARD = "README.md"
RESULTS = ".eval_results"
"""The one hidden folder that is for the Hub."""
ADAPTER_CONFIG = "adapter_config.json"
STATES = (
    *("training_args.bin", "optimizer.pt", "optimizer.bin", "scheduler.pt", "scaler.pt", "rng_state*.pth"),
    *(
        "trainer_state.json",
        "projections.safetensors",
        "pruning.safetensors",
        "global_step*",
        "latest",
        "zero_to_fp32.py",
        "checkpoint-*",
    ),
)
"""States of a training."""
_LEFT_BEHIND = ("runs", "__pycache__", "*.part", "*.lock", "*.tmp")
_OURS = (
    *("model.safetensors", "model-*-of-*.safetensors", INDEX, ADAPTER, "config.json", "generation_config.json"),
    *("ensemble.safetensors", "modeling_ensemble.py", "member-*", "processor-*", "graph-*"),
    *(ADAPTER_CONFIG, MANIFEST, "report.json", "report.md", "report.png", "report.html", "recipe.yaml"),
    *("model.onnx", "model.onnx.data", "openvino_model.xml", "openvino_model.bin", "model.pte", PROGRAMS),
)
"""Files that go when a later version has none of the name: a loader would take them for its own."""


def is_ours(path: str) -> bool:
    """Whether a file on the Hub is of a kind that a version replaces: by a file of its name, or by none."""
    return _any(path, _OURS)


def is_state(name: str) -> bool:
    """Whether a file or folder is the state of a training and no part of a model."""
    return _any(name, STATES)


def files_of(folder: Path) -> tuple[dict[str, Path], list[str]]:
    """What of a folder goes to the Hub.

    Returns:
        Path in the repository -> file; and the paths of what stays, hidden files apart: states of a training, and links
        that lead to no file (what lies behind a link to a folder is no part of this one).
    """
    files: dict[str, Path] = {}
    left: list[str] = []
    for file in sorted(folder.rglob("*")):
        parts = file.relative_to(folder).parts
        hidden = any(part.startswith(".") for part in parts[1:]) or (parts[0].startswith(".") and parts[0] != RESULTS)
        if hidden or (not file.is_file() and not file.is_symlink()):
            continue
        if not file.is_file() or any(is_state(part) or _any(part, _LEFT_BEHIND) for part in parts):
            left.append("/".join(parts))
        else:
            files["/".join(parts)] = file
    return files, left


def _any(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)
