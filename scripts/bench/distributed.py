r"""What each technique costs in every process, over the plain Trainer, under each way of spreading a training.

    python scripts/bench/distributed.py --ways ddp fsdp2 zero2 zero3

Every way is started with `--processes` processes, which train a small Llama: with the plain Trainer, and with
CompressionTrainer and each technique on. Time is the mean of the steps of a training, as a ratio to the plain Trainer's in
the same round; the trainings take turns. In one more training every tensor is counted: the most bytes there are at once in
a process from the second step on, and the bytes that it sends in its last step.

On GPUs the processes are as users start them, one on each; `--billion` trains a Llama of 0.9 billion weights in bf16:

    python scripts/bench/distributed.py --billion --ways ddp

Without one they run over gloo, with what the tests need for that: FSDP2 on a CPU has to be allowed, DeepSpeed to be told.
Times then show what the processor has to do, and nothing of a network.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import _benchmark as bench
import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

WAYS = ("ddp", "fsdp2", "zero2", "zero3")
BILLION = {"hidden": 2048, "layers": 12, "vocabulary": 32000, "tokens": 1024, "batch": 8, "steps": 50, "bf16": True}
SIZES = ("repeats", "steps", "hidden", "layers", "vocabulary", "tokens", "batch")
CASES = ("plain Trainer", "nothing on", "pruning", "QAT", "distillation", "all three")


def techniques(case: str) -> dict:
    """By their names in CompressionTrainer; all are on from the first step."""
    from hf_compress import W4A16, Constant, Distillation, ForwardKL, ModelTeacher, Pruning, Quantization

    known = {
        "pruning": Pruning(schedule=Constant(final=0.5, begin="0%")),
        "quantization": Quantization(scheme=W4A16(group_size=64), begin="0%"),
        "distillation": Distillation(teacher=ModelTeacher(), losses=[(0.5, ForwardKL())]),
    }
    wanted = {"pruning": "pruning", "QAT": "quantization", "distillation": "distillation"}
    names = list(known) if case == "all three" else [wanted[case]] if case in wanted else []
    return {name: known[name] for name in names}


def settings(way: str, cpu: bool) -> dict:
    """TrainingArguments of a way."""
    if way == "fsdp2":
        wrapped = {"auto_wrap_policy": "TRANSFORMER_BASED_WRAP", "state_dict_type": "FULL_STATE_DICT"}
        return {"fsdp": True, "fsdp_config": {"version": 2, **wrapped}, "use_cpu": cpu}
    if way.startswith("zero"):
        auto = ("train_micro_batch_size_per_gpu", "train_batch_size", "gradient_accumulation_steps", "gradient_clipping")
        # Buckets and what stays gathered are by default of a size for billions of weights: here nothing else would show.
        small = ("reduce_bucket_size", "allgather_bucket_size", "stage3_prefetch_bucket_size", "stage3_max_live_parameters")
        zero = {"stage": int(way[-1]), "stage3_param_persistence_threshold": 0, "stage3_max_reuse_distance": 0}
        zero |= dict.fromkeys(small, 10**6)
        return {"deepspeed": {**dict.fromkeys(auto, "auto"), "zero_optimization": zero}}
    return {"use_cpu": cpu}


def train(way: str, case: str, options: argparse.Namespace, counted: bool) -> dict:
    """One training in this process."""
    import contextlib

    from datasets import Dataset
    from transformers import LlamaConfig, LlamaForCausalLM, Trainer, TrainerCallback, TrainingArguments

    from hf_compress import CompressionTrainer
    from tests.peak import Peak

    class Clock(TrainerCallback):
        """Seconds of every step, and what was sent in the last one."""

        def __init__(self) -> None:
            self.seconds, self.sent, self.count = [], 0, None

        def on_step_begin(self, args, state, control, **kwargs):
            self.began = time.perf_counter()
            self.before = self.count.sent if self.count else 0
            if self.count and len(self.seconds) == 1:
                self.count.peak = self.count.bytes  # before, the model is spread, which takes more for a moment

        def on_step_end(self, args, state, control, **kwargs):
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            self.seconds.append(time.perf_counter() - self.began)
            self.sent = self.count.sent - self.before if self.count else 0

    cpu = not torch.cuda.is_available()
    torch.manual_seed(0)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=options.vocabulary,
            hidden_size=options.hidden,
            intermediate_size=4 * options.hidden,
            num_hidden_layers=options.layers,
            num_attention_heads=options.hidden // 64,
            num_key_value_heads=options.hidden // 64,
            bos_token_id=1,
            eos_token_id=2,
        )
    )
    rows = torch.randint(3, options.vocabulary, (64, options.tokens)).tolist()
    clock, jobs = Clock(), techniques(case)
    with tempfile.TemporaryDirectory() as folder:
        trainer = (Trainer if case == "plain Trainer" else CompressionTrainer)(
            model=model,
            args=TrainingArguments(
                output_dir=folder,
                max_steps=options.steps,
                per_device_train_batch_size=options.batch,
                learning_rate=1e-4,
                bf16=options.bf16,
                save_strategy="no",
                logging_steps=options.steps,
                report_to="none",
                disable_tqdm=True,
                **settings(way, cpu),
            ),
            train_dataset=Dataset.from_dict({"input_ids": rows, "labels": rows}),
            callbacks=[clock],
            **jobs,
        )
        if not cpu:
            torch.cuda.reset_peak_memory_stats()
        clock.count = Peak(trainer.model) if counted else None
        with clock.count or contextlib.nullcontext():
            trainer.train()
    weights = 4 * sum(parameter.numel() for parameter in LlamaForCausalLM(model.config).parameters())
    peak = torch.cuda.max_memory_allocated() if not cpu else clock.count.peak if counted else 0
    return {"seconds": statistics.fmean(clock.seconds[2:]), "sent": clock.sent, "peak": peak, "weights": weights}


def work(options: argparse.Namespace) -> None:
    """All trainings of one way, in this process."""
    import transformers

    from hf_compress import _distributed

    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    if not torch.cuda.is_available():
        from tests.distributed import deepspeed_on_cpu
        from tests.distributed.fsdp2 import allow_sharding_on_cpu

        if options.worker.startswith("zero"):
            deepspeed_on_cpu.start()
        elif options.worker == "fsdp2":
            allow_sharding_on_cpu()
    found = {case: train(options.worker, case, options, counted=True) for case in CASES}
    seconds = {case: [] for case in CASES}
    for number in range(options.repeats):
        for case in [*CASES[number % len(CASES) :], *CASES[: number % len(CASES)]]:
            seconds[case].append(train(options.worker, case, options, counted=False)["seconds"])
    if _distributed.is_main():
        result = {case: {**found[case], "seconds": seconds[case]} for case in CASES}
        options.result.write_text(json.dumps(result))
    _distributed.leave()


def start(way: str, options: argparse.Namespace) -> dict:
    """All processes of one way."""
    with socket.socket() as listener, tempfile.TemporaryDirectory() as folder:
        listener.bind(("127.0.0.1", 0))
        port, result = listener.getsockname()[1], Path(folder) / "result.json"
        listener.close()
        launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", str(options.processes)]
        asked = [part for name in SIZES for part in (f"--{name}", str(getattr(options, name)))]
        asked += ["--bf16"] if options.bf16 else []
        command = [*launch, "--master_port", str(port), __file__, *asked, "--worker", way, "--result", str(result)]
        done = subprocess.run(
            command, env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            sys.exit(f"{way}: {done.stderr[-3000:]}")
        return json.loads(result.read_text())


def rows_of(found: dict, tokens: int) -> list[list[str]]:
    """A line per case; `tokens` of a step of all processes."""
    plain = found["plain Trainer"]["seconds"]
    return [
        [
            case,
            bench.milliseconds(one["seconds"]),
            bench.ratio(one["seconds"], plain),
            f"{tokens / statistics.median(one['seconds']):,.0f}",
            f"{one['peak'] / 1e9:.3f}",
            f"{one['peak'] / one['weights']:.2f}",
            f"{one['sent'] / one['weights']:.3f}",
        ]
        for case, one in found.items()
    ]


def main() -> None:
    parser = bench.parser(__doc__.splitlines()[0], repeats=5)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--processes", type=int, help="a GPU's each, or 2")
    parser.add_argument("--billion", action="store_true", help=f"on GPUs alone: {BILLION}")
    parser.add_argument("--steps", type=int, default=12, help="of one training; the first two are left out")
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--vocabulary", type=int, default=512)
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--batch", type=int, default=2, help="rows of one process")
    parser.add_argument("--bf16", action="store_true", help="mixed precision")
    parser.add_argument("--worker", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--result", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        work(options)
        return
    bench.prepare(options)
    gpus = torch.cuda.device_count()
    if options.billion and not gpus:
        sys.exit("--billion is for GPUs, and this machine has none; leave it out for a small model on processors")
    vars(options).update(BILLION if options.billion else {})
    options.processes = options.processes or gpus or 2
    title = f"Techniques over the plain Trainer, {options.processes} processes"
    parts = [bench.header(title, ["transformers", "accelerate", "deepspeed"])]
    peaks = ["GB at the peak in a process", "per byte of weights"]
    head = ["", "step, ms", "of the plain Trainer's", "tokens per second", *peaks, "sent in a step, likewise"]
    tokens = options.processes * options.batch * options.tokens
    for way in options.ways:
        bench.progress(way)
        parts.append(f"{way}\n\n{bench.table(head, rows_of(start(way, options), tokens))}")
    bench.emit(parts, options.out)


if __name__ == "__main__":
    main()
