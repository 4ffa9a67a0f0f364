"""Time and memory of the chunked distillation objective against plain autograd on the full logits.

All cases compute 0.5 * forward KL + 0.5 * cross-entropy over the same logits, forward and backward:

    chunked            hf_compress: loss and gradient chunk by chunk, dense nowhere
    dense              the same formula in plain torch autograd on the full (N, V) tensors
    dense kl_div       the peer: torch.nn.functional.kl_div (log targets) and cross_entropy
    cross-entropy      the floor: training without a teacher

Memory is the growth of the process's peak resident size over what logits and teacher logits take, in units of one fp32
logits tensor; one process per case, because the peak of a process never falls. The student's gradient, which every case must
produce, is 1.0 of them.
"""

import argparse
import resource
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import _benchmark as bench
import torch
from torch import Tensor
from torch.nn import functional

from hf_compress.distillation.chunked import CHUNK_BYTES, chunked_sum
from hf_compress.distillation.configuration import Distillation
from hf_compress.distillation.losses.forward_kl import ForwardKL
from hf_compress.distillation.objective import distillation_objective
from hf_compress.distillation.signal import Signal
from hf_compress.distillation.task_loss import task_loss_sum

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
SWEEP_MIB = (1, 2, 4, 8, 16, 32, 64)


def chunked(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """The library's objective, as the mixin calls it."""
    return distillation_objective(Distillation(), student, labels, Signal(logits=teacher), "tokens")[0]


def chunked_at(student: Tensor, teacher: Tensor, labels: Tensor, chunk_bytes: int) -> Tensor:
    """The same sum with another chunk size."""
    loss = ForwardKL()

    def chunk_loss(rows: Tensor, index: Tensor) -> tuple[Tensor, ...]:
        keep = torch.ones_like(index, dtype=torch.bool)
        divergence = loss(rows, Signal(logits=teacher[index].float()), keep)
        return (0.5 * divergence + 0.5 * task_loss_sum(rows, labels[index], "tokens"),)

    return chunked_sum(student, labels != -100, chunk_loss, chunk_bytes)[0]


def dense(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """The formula on full tensors."""
    log_student = torch.log_softmax(student.float(), dim=-1)
    log_teacher = torch.log_softmax(teacher.float(), dim=-1)
    divergence = (log_teacher.exp() * (log_teacher - log_student)).sum()
    return 0.5 * divergence + 0.5 * functional.cross_entropy(student.float(), labels, reduction="sum")


def dense_kl_div(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """The formula with torch's own divergence."""
    log_student = torch.log_softmax(student.float(), dim=-1)
    log_teacher = torch.log_softmax(teacher.float(), dim=-1)
    divergence = functional.kl_div(log_student, log_teacher, reduction="sum", log_target=True)
    return 0.5 * divergence + 0.5 * functional.cross_entropy(student.float(), labels, reduction="sum")


def cross_entropy(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """No teacher at all."""
    return functional.cross_entropy(student.float(), labels, reduction="sum")


CASES: dict[str, Loss] = {
    "chunked": chunked,
    "dense": dense,
    "dense kl_div": dense_kl_div,
    "cross-entropy": cross_entropy,
}


def inputs(tokens: int, vocabulary: int, dtype: torch.dtype, seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """Student logits (N, V) with gradient, teacher logits (N, V), labels (N,); made in place, so that no peak precedes."""
    generator = torch.Generator().manual_seed(seed)
    student = torch.empty(tokens, vocabulary, dtype=dtype).normal_(generator=generator).requires_grad_()
    teacher = torch.empty(tokens, vocabulary, dtype=dtype).normal_(generator=generator)
    return student, teacher, torch.randint(vocabulary, (tokens,), generator=generator)


def step(loss: Loss, student: Tensor, teacher: Tensor, labels: Tensor) -> None:
    """Forward and backward."""
    student.grad = None
    loss(student, teacher, labels).backward()


def check_gradients(student: Tensor, teacher: Tensor, labels: Tensor) -> None:
    """Before anything is timed: the three forms of the objective have the same gradient."""
    gradients = []
    for name in ("dense", "dense kl_div", "chunked"):
        step(CASES[name], student, teacher, labels)
        assert student.grad is not None
        gradients.append(student.grad.clone())
    tolerance = 1e-5 if student.dtype == torch.float32 else 1e-2
    for gradient in gradients[1:]:
        torch.testing.assert_close(gradient, gradients[0], atol=tolerance, rtol=tolerance)


def peak_bytes() -> int:
    """The process's largest resident size so far.

    Linux keeps ru_maxrss of the parent across exec, so there it is read from /proc; elsewhere ru_maxrss counts in bytes.
    """
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def measure_growth(name: str, tokens: int, vocabulary: int, dtype: str, seed: int) -> float:
    """In this process: peak growth of one step, in fp32 logits tensors."""
    loss = CASES[name] if name in CASES else partial(chunked_at, chunk_bytes=int(name) * 2**20)
    step(loss, *inputs(64, 1024, DTYPES[dtype], seed))  # kernels and buffers that come once
    batch = inputs(tokens, vocabulary, DTYPES[dtype], seed)
    before = peak_bytes()
    step(loss, *batch)
    return (peak_bytes() - before) / (4 * tokens * vocabulary)


def growth(options: argparse.Namespace, name: str, tokens: int, vocabulary: int) -> str:
    """The same in a process of its own."""
    arguments = [name, str(tokens), str(vocabulary), options.dtype, str(options.seed)]
    command = [sys.executable, __file__, "--threads", str(options.threads), "--measure-growth", *arguments]
    return f"{float(subprocess.run(command, check=True, capture_output=True, text=True).stdout):.2f}"


def main() -> None:
    """Time, memory, and the sweep that sets CHUNK_BYTES."""
    parser = bench.parser(__doc__.splitlines()[0], repeats=5)
    parser.add_argument(
        "--sizes", nargs="+", default=["512x32768", "2048x32768", "512x131072"], metavar="TOKENSxVOCABULARY", help="logits"
    )
    parser.add_argument("--sweep", default="1024x32768", metavar="TOKENSxVOCABULARY", help="logits of the chunk size sweep")
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="float32", help="of the logits")
    parser.add_argument("--measure-growth", nargs=5, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    bench.prepare(options)
    if options.measure_growth is not None:
        name, tokens, vocabulary, dtype, seed = options.measure_growth
        print(measure_growth(name, int(tokens), int(vocabulary), dtype, int(seed)))
        return

    rows = []
    for size in options.sizes:
        tokens, vocabulary = map(int, size.split("x"))
        bench.progress(f"{tokens} tokens, vocabulary {vocabulary}")
        batch = inputs(tokens, vocabulary, DTYPES[options.dtype], options.seed)
        check_gradients(*batch)
        seconds = bench.interleaved({name: partial(step, loss, *batch) for name, loss in CASES.items()}, options.repeats)
        del batch
        for name in CASES:
            rows.append(
                [
                    f"{tokens:,} x {vocabulary:,}",
                    name,
                    bench.milliseconds(seconds[name]),
                    bench.ratio(seconds[name], seconds["cross-entropy"]),
                    bench.ratio(seconds[name], seconds["dense kl_div"]),
                    growth(options, name, tokens, vocabulary),
                ]
            )

    tokens, vocabulary = map(int, options.sweep.split("x"))
    bench.progress(f"chunk sizes at {tokens} tokens, vocabulary {vocabulary}")
    batch = inputs(tokens, vocabulary, DTYPES[options.dtype], options.seed)
    cases = {str(size): partial(step, partial(chunked_at, chunk_bytes=size * 2**20), *batch) for size in SWEEP_MIB}
    seconds = bench.interleaved(cases, options.repeats)
    default = str(CHUNK_BYTES // 2**20)
    floor = seconds[default] if default in seconds else next(iter(seconds.values()))
    sweep_rows = [
        [
            f"{size} MiB" + (" (CHUNK_BYTES)" if size == default else ""),
            f"{max(1, int(size) * 2**20 // (4 * vocabulary))}",
            bench.milliseconds(seconds[size]),
            bench.ratio(seconds[size], floor),
            growth(options, size, tokens, vocabulary),
        ]
        for size in cases
    ]
    bench.emit(
        [
            bench.header(f"Distillation objective, {options.dtype} logits, forward + backward", ["hf_compress"]),
            f"Median (smallest-largest) of {options.repeats} interleaved rounds; ratios are taken inside a round. Peak memory:"
            " growth over the\ninputs, in fp32 logits tensors.",
            bench.table(["tokens x V", "case", "ms", "vs cross-entropy (floor)", "vs dense kl_div (peer)", "peak"], rows),
            f"Chunk sizes, {tokens:,} tokens x {vocabulary:,}",
            bench.table(["fp32 bytes of a chunk", "rows", "ms", "vs CHUNK_BYTES", "peak"], sweep_rows),
        ],
        options.out,
    )


if __name__ == "__main__":
    main()
