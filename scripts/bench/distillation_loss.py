"""Time and memory of the chunked distillation objective against plain autograd on the full logits.

All cases compute 0.5 * forward KL + 0.5 * cross-entropy over the same logits, forward and backward:

    chunked            hf_compress: loss and gradient chunk by chunk, dense nowhere
    dense              the same formula in plain torch autograd on the full (N, V) tensors
    dense kl_div       the peer: torch.nn.functional.kl_div (log targets) and cross_entropy
    cross-entropy      the floor: training without a teacher

Memory is the growth of the process's peak resident size over what both logits take, in units of one fp32 logits tensor, in
a process per case, because the peak of a process never falls.
"""

import multiprocessing
from collections.abc import Callable
from functools import partial
from multiprocessing.queues import Queue
from pathlib import Path

import _benchmark as bench
import torch
from torch import Tensor
from torch.nn import functional

from hf_compress.distillation.chunked import CHUNK_BYTES, chunked_sum
from hf_compress.distillation.configuration import Distillation
from hf_compress.distillation.losses.forward_kl import ForwardKL
from hf_compress.distillation.objective import distillation_objective
from hf_compress.distillation.signal import Rows, Signal
from hf_compress.tasks.row_kind import row_kind

Loss = Callable[[Tensor, Tensor, Tensor], Tensor]
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TOKENS = row_kind("tokens")()
SWEEP_MIB = (1, 2, 4, 8, 16, 32, 64)


def chunked(student: Tensor, teacher: Tensor, labels: Tensor) -> Tensor:
    """The library's objective, as the mixin calls it."""
    answers = Signal(logits=student), Signal(logits=teacher)
    return distillation_objective(Distillation(), *answers, {"labels": labels}, TOKENS)[0]


def chunked_at(student: Tensor, teacher: Tensor, labels: Tensor, chunk_bytes: int) -> Tensor:
    """The same sum with another chunk size."""
    loss = ForwardKL()

    def chunk_loss(rows: Tensor, index: Tensor) -> tuple[Tensor, ...]:
        keep = torch.ones_like(index, dtype=torch.bool)
        divergence = loss(rows, Rows(logits=teacher[index].float()), keep)
        return (0.5 * divergence + 0.5 * TOKENS.loss_sum(rows, labels[index]),)

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
    """The process's largest resident size so far."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def report_growth(results: Queue, loss: Loss, tokens: int, vocabulary: int, dtype: torch.dtype, seed: int) -> None:
    """In a child process: peak growth of one step, in fp32 logits tensors."""
    step(loss, *inputs(64, 1024, dtype, seed))  # kernels and buffers that come once
    batch = inputs(tokens, vocabulary, dtype, seed)
    before = peak_bytes()
    step(loss, *batch)
    results.put((peak_bytes() - before) / (4 * tokens * vocabulary))


def growth(loss: Loss, tokens: int, vocabulary: int, dtype: torch.dtype, seed: int) -> str:
    """The same, as text; forked before this process runs anything in parallel, so that imports cost nothing."""
    if not Path("/proc/self/status").exists():
        return "Linux only"
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    child = context.Process(target=report_growth, args=(results, loss, tokens, vocabulary, dtype, seed))
    child.start()
    value = results.get()
    child.join()
    return f"{value:.2f}"


def parse_size(size: str) -> tuple[int, int]:
    """512x32768 -> 512 tokens, vocabulary 32768."""
    tokens, vocabulary = map(int, size.split("x"))
    return tokens, vocabulary


def main() -> None:
    """Memory, time, and the sweep that sets CHUNK_BYTES."""
    parser = bench.parser(__doc__.splitlines()[0], repeats=5)
    parser.add_argument(
        "--sizes", nargs="+", default=["512x32768", "1024x32768", "256x131072"], metavar="TOKENSxVOCABULARY", help="logits"
    )
    parser.add_argument("--sweep", default="512x32768", metavar="TOKENSxVOCABULARY", help="logits of the chunk size sweep")
    parser.add_argument("--dtype", choices=sorted(DTYPES), default="float32", help="of the logits")
    options = parser.parse_args()
    bench.prepare(options)
    dtype = DTYPES[options.dtype]
    sizes = [parse_size(size) for size in options.sizes]
    swept = parse_size(options.sweep)
    sweep = {size: partial(chunked_at, chunk_bytes=size * 2**20) for size in SWEEP_MIB}
    head = bench.header(f"Distillation objective, {options.dtype} logits, forward + backward", ["hf_compress"])

    bench.progress("memory")
    peaks = {(size, name): growth(loss, *size, dtype, options.seed) for size in sizes for name, loss in CASES.items()}
    sweep_peaks = {size: growth(loss, *swept, dtype, options.seed) for size, loss in sweep.items()}

    rows = []
    for tokens, vocabulary in sizes:
        bench.progress(f"{tokens} tokens, vocabulary {vocabulary}")
        batch = inputs(tokens, vocabulary, dtype, options.seed)
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
                    peaks[(tokens, vocabulary), name],
                ]
            )

    bench.progress(f"chunk sizes at {swept[0]} tokens, vocabulary {swept[1]}")
    batch = inputs(*swept, dtype, options.seed)
    cases = {str(size): partial(step, loss, *batch) for size, loss in sweep.items()}
    seconds = bench.interleaved(cases, options.repeats)
    default = CHUNK_BYTES // 2**20
    floor = seconds[str(default if default in sweep else SWEEP_MIB[0])]
    sweep_rows = [
        [
            f"{size} MiB" + (" (CHUNK_BYTES)" if size == default else ""),
            str(max(1, size * 2**20 // (4 * swept[1]))),
            bench.milliseconds(seconds[str(size)]),
            bench.ratio(seconds[str(size)], floor),
            sweep_peaks[size],
        ]
        for size in sweep
    ]
    bench.emit(
        [
            head,
            f"Median (smallest-largest) of {options.repeats} interleaved rounds; ratios are taken inside a round.\n"
            "Peak: growth of the process over its inputs, in fp32 logits tensors; the gradient alone is"
            f" {dtype.itemsize / 4:g}.",
            bench.table(["tokens x V", "case", "ms", "vs cross-entropy (floor)", "vs dense kl_div (peer)", "peak"], rows),
            f"Chunk sizes, {swept[0]:,} tokens x {swept[1]:,}",
            bench.table(["fp32 bytes of a chunk", "rows", "ms", "vs CHUNK_BYTES", "peak"], sweep_rows),
        ],
        options.out,
    )


if __name__ == "__main__":
    main()
