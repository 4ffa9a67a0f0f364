r"""Kill trainings of two processes at random moments, resume them, and compare with an uninterrupted one, bit for bit.

    python scripts/crash_and_resume.py --points 50

A training with pruning, QAT and distillation writes a checkpoint every three steps. It is ended, started again from its
last whole checkpoint, ended again, until it is done; then the next one begins. Three ends are drawn:

- one process is killed (SIGKILL) a random moment after a random step;
- all are killed a random moment after the folder of a new checkpoint appears;
- the disk has a random number of bytes left, at most what a checkpoint takes (a small file system is mounted for it, which
  needs root; without, this end is left out, and said).

Looked at after each: nobody runs on, the processes ended in time, the checkpoint that the next start takes is the one of
the uninterrupted training byte for byte (weights and optimizer), and so are the weights at the end.
"""

import argparse
import collections
import contextlib
import datetime
import hashlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

STEPS, EVERY = 60, 3
SECONDS = 120
"""After which processes that have not ended are said to hang."""
FULL = ("No space left", "iostream error", "inline_container")
"""What torch and the system say of a full disk."""
COMPARED = ("model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state_0.pth", "rng_state_1.pth")


def train(out: Path, beats: Path) -> None:
    """One process of the training; writes its number at the start and every step's number into `beats`."""
    import torch
    from datasets import Dataset
    from transformers import LlamaConfig, LlamaForCausalLM, TrainerCallback, TrainingArguments

    from hf_compress import CompressionTrainer, Cubic, Distillation, ModelTeacher, Pruning, Quantization
    from hf_compress.training.checkpoints import last_whole_checkpoint

    class Beat(TrainerCallback):
        def on_train_begin(self, args, state, control, **kwargs):
            (beats / f"process-{args.process_index}").write_text(str(os.getpid()))
            if args.process_index == 0:
                (beats / "began").write_text(str(state.global_step))

        def on_step_end(self, args, state, control, **kwargs):
            if args.process_index == 0:
                (beats / "step").write_text(str(state.global_step))

    torch.set_num_threads(1)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=256,
        hidden_size=128,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        bos_token_id=1,
        eos_token_id=2,
    )
    tokens = torch.randint(3, 256, (512, 16)).tolist()
    trainer = CompressionTrainer(
        model=LlamaForCausalLM(config),
        args=TrainingArguments(
            output_dir=str(out),
            max_steps=STEPS,
            save_steps=EVERY,
            per_device_train_batch_size=4,
            use_cpu=True,
            report_to="none",
            disable_tqdm=True,
            logging_steps=STEPS,
        ),
        train_dataset=Dataset.from_dict({"input_ids": tokens, "labels": tokens}),
        callbacks=[Beat()],
        pruning=Pruning(schedule=Cubic(final=0.5, begin="0%", end="50%", every=2)),
        quantization=Quantization(scheme="W4A16", begin="50%"),
        distillation=Distillation(teacher=ModelTeacher()),
    )
    # Not True, which refuses where the first checkpoint of all is the one that was being written.
    whole = last_whole_checkpoint(out, trainer.args)
    trainer.train(resume_from_checkpoint=None if whole is None else str(whole))


class Run:
    """One start of both processes."""

    def __init__(self, out: Path, beats: Path) -> None:
        shutil.rmtree(beats, ignore_errors=True)
        beats.mkdir(parents=True)
        self.out, self.beats = out, beats
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = listener.getsockname()[1]
        launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", str(port)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
        self.log = (beats / "log").open("w")
        self.process = subprocess.Popen(
            [*launch, __file__, "--train", str(out), str(beats)],
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
            if time.time() - began > SECONDS:
                self.kill_all()
                sys.exit(f"nothing happened for {SECONDS} s; see {self.log.name}")
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

    def end(self) -> int:
        """The exit code, once everybody has ended."""
        try:
            code = self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.kill_all()
            sys.exit(f"HANGS: a process has not ended {SECONDS} s after the crash; see {self.log.name}")
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


def digests(checkpoint: Path) -> dict[str, str]:
    return {name: hashlib.sha256((checkpoint / name).read_bytes()).hexdigest() for name in COMPARED}


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
    code = run.end()
    return kind if code != 0 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--points", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--work", type=Path, default=Path("out/crash-and-resume"))
    parser.add_argument("--train", nargs=2, type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.train:
        train(*options.train)
        return
    draw, work = random.Random(options.seed), options.work.resolve()
    shutil.rmtree(work, ignore_errors=True)
    straight, beats = work / "straight", work / "beats"
    run = Run(straight, beats)
    if run.end() != 0:
        sys.exit(f"the uninterrupted training failed; see {run.log.name}")
    expected = {name: digests(straight / name) for name in checkpoints(straight)}
    last = f"checkpoint-{STEPS}"
    size = sum(file.stat().st_size for file in (straight / last).iterdir())
    print(f"{len(expected)} checkpoints of {size // 1000:,} KB, one every {EVERY} steps", flush=True)
    done: collections.Counter[str] = collections.Counter()
    taken, trainings, discarded = 0, 0, 0
    with small_disk(work / "disk", 2 * size * len(expected) // 10**6) as mounted:
        kinds = ["one killed", "all killed at a checkpoint", *(["disk full"] if mounted else [])]
        if not mounted:
            print("no file system could be mounted (that needs root): full disks are left out")
        while done.total() < options.points:
            out = work / "disk" / f"training-{trainings}"
            while True:
                # Above all points that are asked for, the training is only finished.
                kind = draw.choice(kinds) if done.total() < options.points else None
                ballast = work / "disk" / "ballast"
                if kind == "disk full":
                    room = shutil.disk_usage(work / "disk").free - draw.randrange(size)
                    ballast.write_bytes(bytes(max(room, 0)))
                run = Run(out, beats)
                happened = crash(run, kind, draw) if kind else None
                code = run.end() if kind is None else run.process.returncode
                ballast.unlink(missing_ok=True)
                if happened is None and code != 0:
                    sys.exit(f"a training ended by itself; see {run.log.name}")
                began = run.read("began")
                if began:
                    name, taken = f"checkpoint-{began}", taken + 1
                    if digests(out / name) != expected[name]:
                        sys.exit(f"{out / name} was taken, and is not the uninterrupted training's")
                if kind == "disk full" and happened and not any(one in Path(run.log.name).read_text() for one in FULL):
                    sys.exit(f"the disk was full, and the training ended of something else; see {run.log.name}")
                if happened is None:
                    break
                done[happened] += 1
                discarded += sum(not all((out / one / name).exists() for name in COMPARED) for one in checkpoints(out))
            wrong = [name for name in checkpoints(out) if digests(out / name) != expected[name]]
            if wrong:
                sys.exit(f"training {trainings} differs from the uninterrupted one at {wrong[0]}")
            shutil.rmtree(out)
            trainings += 1
            print(f"training {trainings}: all its checkpoints are equal; so far {dict(done)}", flush=True)
    print(f"{datetime.date.today()} seed {options.seed}: {done.total()} crashes in {trainings} trainings: {dict(done)}")
    print(
        f"{taken} checkpoints were taken to go on from, each equal to the uninterrupted training's in {len(COMPARED)} files"
    )
    print(f"{discarded} times a crash left a checkpoint that was not whole; none was taken. Nobody hung, nobody ran on.")


if __name__ == "__main__":
    main()
