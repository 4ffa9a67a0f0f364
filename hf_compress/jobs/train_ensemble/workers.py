"""Members trained several at a time, each by a process of its own with a log of its own."""

import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from hf_compress._errors import CompressionError
from hf_compress._parent import named
from hf_compress.jobs.train_ensemble.members import Member

logger = logging.getLogger(__name__)

_EVERY_S = 0.2
_SAID = "hf-compress: "
"""Begins what the command line says of a mistake."""


def train_in_workers(members: Sequence[Member], workers: int, place: Path) -> None:
    """Train members by `hf-compress run`, so many at a time; when one fails, the others are told to end.

    Where this process is killed, they end by themselves, each with a checkpoint.

    Where there are several CUDA devices, the worker that begins as number k of those that run has the device k modulo their
    number to itself. What a member says stands in `<name>.log` beside its folder.

    Args:
        members: in the order in which they begin.
        workers: at a time.
        place: gets recipes and logs.

    Raises:
        CompressionError: a member cannot be trained, with its name and what its process said last.
    """
    left = list(enumerate(members))
    running: dict[int, tuple[Member, subprocess.Popen[bytes]]] = {}
    try:
        while left or running:
            for slot in range(min(workers, len(members))):
                if left and slot not in running:
                    number, member = left.pop(0)
                    logger.info("member %d of %d: %s, see %s", number + 1, len(members), member.name, _log(member, place))
                    running[slot] = (member, _start(member, place, slot))
            for slot, (member, process) in list(running.items()):
                if process.poll() is not None:
                    del running[slot]
                    if process.returncode:
                        raise _failed(member, process.returncode, place)
                    logger.info("%s is trained", member.name)
            time.sleep(_EVERY_S)
    finally:
        for _, process in running.values():
            process.send_signal(signal.SIGTERM)  # each writes a checkpoint first
        for _, process in running.values():
            process.wait()


def _start(member: Member, place: Path, slot: int) -> "subprocess.Popen[bytes]":
    file = place / f"{member.name}.yaml"
    file.write_text(member.recipe.to_yaml(), encoding="utf-8")
    with _log(member, place).open("ab") as log:
        return subprocess.Popen(
            _command(member, file), stdout=log, stderr=subprocess.STDOUT, env={**os.environ, **_device(slot), **named()}
        )


def _command(member: Member, file: Path) -> list[str]:
    return [sys.executable, "-m", "hf_compress", "run", str(file), "--resume"]


def _device(slot: int) -> dict[str, str]:
    """The CUDA device of a worker, where there are several."""
    import torch

    count = torch.cuda.device_count()
    if count < 2:
        return {}
    known = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = known.split(",")[:count] if known else [str(number) for number in range(count)]
    return {"CUDA_VISIBLE_DEVICES": names[slot % len(names)]}


def _log(member: Member, place: Path) -> Path:
    return place / f"{member.name}.log"


def _failed(member: Member, code: int, place: Path) -> CompressionError:
    """What a process said of its mistake, or where it stands."""
    log = _log(member, place)
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    said = [line.removeprefix(_SAID) for line in lines if line.startswith(_SAID)]
    reason = said[-1] if said else f"its process ended with {code}"
    return CompressionError(f"members.{member.name}: {reason}; all that it said is in {log}")
