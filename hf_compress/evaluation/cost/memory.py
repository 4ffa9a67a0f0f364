"""The memory that loading a checkpoint and running it takes, of a process of its own."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from hf_compress._errors import CompressionError, reason_of

_STATUS = Path("/proc/self/status")


def measure_memory(
    folder: Path, auto_class: str, dtype: str, device: str, batch_size: int, length: int | None
) -> dict[str, Any]:
    """What a fresh process needs at most for loading the model and two forward passes.

    On the CPU it is the peak of the process's resident memory (VmHWM of Linux), libraries included: `before_bytes` is what
    it was when the model's code was there and its weights were not. Files are mapped, so of those that are computed with as
    they are stored only what was read counts. On a GPU it is the peak of torch's allocator
    (torch.cuda.max_memory_allocated), and `before_bytes` is 0.

    Args:
        folder: a checkpoint.
        auto_class: what loads it, by name.
        dtype: as `from_pretrained` takes it.
        device: cpu or cuda.
        batch_size: of the batch.
        length: of its inputs; None where the config fixes them.

    Returns:
        peak_bytes, before_bytes, and `how` it was measured; the first two None where the system does not say.
    """
    if device == "cpu" and resident_peak() is None:
        return {"peak_bytes": None, "before_bytes": None, "how": "not measured: this system does not tell VmHWM"}
    arguments = json.dumps([str(folder), auto_class, dtype, device, batch_size, length])
    # Safe (-P): modules of the working directory, which may be the checkpoint's own folder, are not imported.
    command = [sys.executable, "-P", "-W", "ignore", "-m", __name__, arguments]
    paths = [os.environ.get("PYTHONPATH", ""), str(Path(__file__).parents[3])]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1]
        raise CompressionError(
            f"a process that loads {folder} and runs batch {batch_size} ended early: {reason_of(RuntimeError(last))}; take"
            " a smaller batch, or leave memory out (memory: false)"
        )
    return dict(json.loads(done.stdout.splitlines()[-1]))


def resident_peak() -> int | None:
    """The most bytes of memory this process has had so far; None where the system does not say."""
    found = re.search(r"^VmHWM:\s*(\d+) kB", _STATUS.read_text(), re.MULTILINE) if _STATUS.is_file() else None
    return int(found[1]) * 1024 if found else None


def _measured(folder: str, auto_class: str, dtype: str, device: str, batch_size: int, length: int | None) -> dict[str, Any]:
    """In the fresh process."""
    import torch

    from hf_compress.evaluation.cost.batches import batch_of
    from hf_compress.evaluation.cost.loading import load_to_run

    _load_code(folder, auto_class)
    before = resident_peak()
    model = load_to_run(Path(folder), auto_class, dtype, torch.device(device))
    batch = batch_of(model, batch_size, length)
    with torch.no_grad():
        for _ in range(2):
            model(**batch)
    if device == "cpu":
        return {"peak_bytes": resident_peak(), "before_bytes": before, "how": "VmHWM of a fresh process"}
    peak = torch.cuda.max_memory_allocated()
    return {"peak_bytes": peak, "before_bytes": 0, "how": "torch.cuda.max_memory_allocated of a fresh process"}


def _load_code(folder: str, auto_class: str) -> None:
    """What the model's class imports, so that it counts as there before the weights are."""
    import compressed_tensors
    import transformers

    from hf_compress.inputs.models import load_config, skeleton

    assert compressed_tensors
    skeleton(getattr(transformers, auto_class), load_config(folder, {}))


if __name__ == "__main__":
    sys.stdout.write("\n" + json.dumps(_measured(*json.loads(sys.argv[1]))) + "\n")
