r"""Kill trainings of two processes at random moments, resume them, and compare with an uninterrupted one, bit for bit.

    python scripts/crash_and_resume.py --points 50 --strategy fsdp2 fsdp2_full zero2 zero3

A training with pruning, QAT and distillation writes a checkpoint every three steps. It is ended, started again from its
last whole checkpoint, ended again, until it is done; then the next one begins. Three ends are drawn:

- one process is killed (SIGKILL) a random moment after a random step;
- all are killed a random moment after the folder of a new checkpoint appears;
- the disk has a random number of bytes left, at most what a checkpoint takes (a small file system is mounted for it, which
  needs root; without, this end is left out, and said).

Looked at after each: nobody runs on, the processes ended in time, the checkpoint that the next start takes is the one of
the uninterrupted training byte for byte (every file but those that hold times and paths), and so are all at the end.

All is done on CPUs over gloo; FSDP 2 and DeepSpeed with what the tests need for that.
"""

import argparse
import collections
import contextlib
import datetime
import hashlib
import os
import pickle
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from _crash_training import EVERY, ROOT, STEPS, STRATEGIES

SECONDS, TRAINING = 120, 1800
"""After which processes that have not ended are said to hang: after a kill, and where they train to their end."""
FULL = ("No space left", "iostream error", "inline_container")
"""What torch and the system say of a full disk."""
OWN = ("trainer_state.json", "training_args.bin", "compression.json", "README.md")
"""Files with times and paths of a run in them; all others of a checkpoint are compared."""


class Run:
    """One start of both processes."""

    launcher = ("-m", "torch.distributed.run", "--nproc_per_node", "2")

    def __init__(self, strategy: str, out: Path, beats: Path) -> None:
        shutil.rmtree(beats, ignore_errors=True)
        beats.mkdir(parents=True)
        self.out, self.beats = out, beats
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        launch = [sys.executable, *self.launcher]
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "PYTHONPATH": str(ROOT)}
        environment = {**os.environ, **place, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
        self.log = (beats / "log").open("w")
        self.process = subprocess.Popen(
            [*launch, str(Path(__file__).with_name("_crash_training.py")), strategy, str(out), str(beats)],
            env=environment,
            stdout=self.log,
            stderr=self.log,
            start_new_session=True,
        )

    def read(self, name: str) -> int | None:
        """A number that a process has written; None before it has, or where it was killed while it wrote."""
        try:
            return int((self.beats / name).read_text())
        except (OSError, ValueError):
            return None

    def wait_for(self, happened) -> bool:
        """False where the processes ended before."""
        began = time.time()
        while not happened():
            if self.process.poll() is not None:
                return False
            if time.time() - began > TRAINING:
                self.kill_all()
                sys.exit(f"HANGS: nothing happened for {TRAINING} s; see {self.log.name}")
            time.sleep(0.002)
        return True

    def kill_one(self, rank: int) -> None:
        number = self.read(f"process-{rank}")
        assert number is not None
        os.kill(number, signal.SIGKILL)

    def kill_all(self) -> None:
        # The launcher starts each process in a session of its own.
        for number in [self.process.pid, self.read("process-0"), self.read("process-1")]:
            if number is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(number, signal.SIGKILL)

    def end(self, seconds: int = TRAINING) -> int:
        """The exit code, once everybody has ended."""
        try:
            code = self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill_all()
            sys.exit(f"HANGS: a process has not ended after {seconds} s; see {self.log.name}")
        self.log.close()
        deadline = time.time() + 10
        for rank in (0, 1):
            while self.runs(self.read(f"process-{rank}")):
                if time.time() > deadline:
                    sys.exit(f"process {rank} runs on after its launcher has ended")
                time.sleep(0.02)
        return code

    @staticmethod
    def runs(number: int | None) -> bool:
        if number is None:
            return False
        try:
            return " Z " not in Path(f"/proc/{number}/stat").read_text()
        except (FileNotFoundError, ProcessLookupError):
            return False


def files(checkpoint: Path) -> list[Path]:
    return sorted(path for path in checkpoint.rglob("*") if path.is_file() and path.name not in OWN)


def content(file: Path) -> bytes:
    """Of a file; an index of shards without the path and the random name in it."""
    if file.name not in (".metadata", "optimizer.bin"):
        return file.read_bytes()
    import torch
    from torch.distributed.checkpoint.filesystem import FileSystemReader

    try:
        if file.name == "optimizer.bin":  # accelerate's full state of FSDP: once loaded, its tuples are lists
            return repr(plain(torch.load(file, weights_only=True))).encode()
        index = FileSystemReader(file.parent).read_metadata()
    except (EOFError, RuntimeError, pickle.UnpicklingError):
        return b"cut short"
    index.storage_meta = None
    return repr(index).encode()


def plain(state: Any) -> Any:
    """A state with the digests of tensors' bytes in their place, and lists for tuples."""
    if isinstance(state, dict):
        return {key: plain(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return [plain(value) for value in state]
    if hasattr(state, "numpy"):
        return str(state.dtype), tuple(state.shape), hashlib.sha256(state.contiguous().numpy().tobytes()).hexdigest()
    return state


def digests(checkpoint: Path) -> dict[str, str]:
    return {str(file.relative_to(checkpoint)): hashlib.sha256(content(file)).hexdigest() for file in files(checkpoint)}


def checkpoints(out: Path) -> set[str]:
    return {path.name for path in out.glob("checkpoint-*")}


@contextlib.contextmanager
def small_disk(place: Path, megabytes: int) -> Iterator[bool]:
    """A file system of its own; False where none can be mounted."""
    place.mkdir(parents=True)
    mounted = not subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(place)], stderr=subprocess.DEVNULL, check=False
    ).returncode
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=False)


def crash(run: Run, kind: str, draw: random.Random) -> str | None:
    """What was done to it; None where it was done before that."""
    if kind == "disk full":
        return kind if run.end() != 0 else None
    if kind == "one killed":
        later = draw.randint(1, 2 * EVERY)
        rank, delay = draw.randrange(2), draw.random() * 0.05
        if not run.wait_for(lambda: (run.read("step") or -1) >= (run.read("began") or 0) + later):
            return None
        time.sleep(delay)
        run.kill_one(rank)
    else:
        before, delay = checkpoints(run.out), draw.random() * 0.1
        if not run.wait_for(lambda: checkpoints(run.out) - before):
            return None
        time.sleep(delay)
        run.kill_all()
    code = run.end(SECONDS)
    return kind if code != 0 else None


@dataclass
class Found:
    """What the crashes of a strategy came to."""

    done: collections.Counter[str] = field(default_factory=collections.Counter)
    trainings: int = 0
    taken: int = 0
    torn: int = 0

    def __str__(self) -> str:
        ends = ", ".join(f"{kind} {count}" for kind, count in sorted(self.done.items()))
        return (
            f"{self.done.total()} crashes in {self.trainings} trainings ({ends}); {self.taken} checkpoints were taken to go"
            f" on from; {self.torn} times a crash left one that was not whole"
        )


def straight(strategy: str, work: Path) -> dict[str, dict[str, str]]:
    """Checkpoint -> digests of its files, of an uninterrupted training."""
    run = Run(strategy, work / "straight", work / "beats")
    if run.end() != 0:
        sys.exit(f"the uninterrupted training failed; see {run.log.name}")
    return {name: digests(run.out / name) for name in checkpoints(run.out)}


def interrupted(strategy: str, points: int, draw: random.Random, work: Path) -> Found:
    """Crash trainings until there were `points` crashes; ends the script where something is not as it should be."""
    expected, found = straight(strategy, work), Found()
    size = sum(file.stat().st_size for file in files(work / "straight" / f"checkpoint-{STEPS}"))
    print(f"{strategy}: {len(expected)} checkpoints of {size // 1000:,} KB, one every {EVERY} steps", flush=True)
    disk = work / "disk"
    with small_disk(disk, 2 * size * len(expected) // 10**6) as mounted:
        kinds = ["one killed", "all killed at a checkpoint", *(["disk full"] if mounted else [])]
        if not mounted:
            print("no file system could be mounted (that needs root): full disks are left out")
        while found.done.total() < points:
            out = disk / f"training-{found.trainings}"
            while True:
                # Above all points that are asked for, the training is only finished.
                kind = draw.choice(kinds) if found.done.total() < points else None
                ballast = disk / "ballast"
                if kind == "disk full":
                    room = shutil.disk_usage(disk).free - draw.randrange(size)
                    ballast.write_bytes(bytes(max(room, 0)))
                run = Run(strategy, out, work / "beats")
                happened = crash(run, kind, draw) if kind else None
                code = run.end() if kind is None else run.process.returncode
                ballast.unlink(missing_ok=True)
                if happened is None and code != 0:
                    sys.exit(f"a training ended by itself; see {run.log.name}")
                if began := run.read("began"):
                    name, found.taken = f"checkpoint-{began}", found.taken + 1
                    if digests(out / name) != expected[name]:
                        sys.exit(f"{out / name} was taken, and is not the uninterrupted training's")
                if kind == "disk full" and happened and not any(one in Path(run.log.name).read_text() for one in FULL):
                    sys.exit(f"the disk was full, and the training ended of something else; see {run.log.name}")
                if happened is None:
                    break
                found.done[happened] += 1
                found.torn += sum(digests(out / one) != expected[one] for one in checkpoints(out))
            if wrong := [name for name in sorted(expected) if digests(out / name) != expected[name]]:
                sys.exit(f"training {found.trainings} differs from the uninterrupted one at {wrong[0]}")
            shutil.rmtree(out)
            found.trainings += 1
            print(f"{strategy}: all checkpoints of training {found.trainings} are equal; so far {found}", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--strategy", nargs="+", choices=STRATEGIES, default=["ddp"])
    parser.add_argument("--points", type=int, default=50, help="crashes of each strategy")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--forked", action="store_true", help="load the libraries once for both, without torchrun")
    parser.add_argument("--work", type=Path, default=Path("out/crash-and-resume"))
    options = parser.parse_args()
    if options.forked:
        Run.launcher = (str(ROOT / "tests" / "distributed" / "forked.py"), "2")
    work = options.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    for strategy in options.strategy:
        found = interrupted(strategy, options.points, random.Random(options.seed), work / strategy)
        print(f"{datetime.date.today()} {strategy}, seed {options.seed}: {found}", flush=True)
    print(
        f"Each checkpoint that was taken, and all at the end, equal the uninterrupted training's but for {', '.join(OWN)}."
    )
    print("Nobody hung, nobody ran on.")


if __name__ == "__main__":
    main()
