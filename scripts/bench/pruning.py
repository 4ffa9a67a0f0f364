"""What pruning costs: a training step with masks, one threshold over half a billion weights, and pruning once with data.

First table, on a small Llama with fused AdamW: what masks add to an optimizer step while they stand still, and while they
move every `--every` steps, as a ratio to the same step without masks.

Second table: the k-th largest of `--millions` million fp32 numbers as pruning with one threshold looks for it, and by
torch.kthvalue and torch.topk. Each runs in a process of its own, whose growth in resident memory is the extra memory.

Third table: CPU seconds and extra memory of SparseGPT and Wanda on one block with the layers of SmolLM2-135M (576 x 576,
576 x 192, 576 x 1536), statistics included, per million weights; each in a process of its own. `--peer PYTHON` measures
llm-compressor beside it, whose pins do not go with this library's transformers: make it an environment of its own.

With --device cuda the first two tables are those of a GPU: seconds by the clock, memory of the GPU.
"""

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import _benchmark as bench
import torch
from pruning_step import build
from transformers import LlamaConfig, LlamaForCausalLM

from hf_compress._selection import largest
from hf_compress.pruning.configuration import Pruning
from hf_compress.pruning.criteria.wanda import Wanda
from hf_compress.pruning.masks import Masks
from hf_compress.pruning.patterns.n_m import NM
from hf_compress.pruning.prune import prune
from hf_compress.pruning.schedules.constant import Constant
from hf_compress.pruning.schedules.cubic import Cubic
from hf_compress.pruning.solvers.sparsegpt import SparseGPT

BLOCK = {
    "vocab_size": 512,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 1,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
}
"""One block of SmolLM2-135M."""


def step_rows(options: argparse.Namespace) -> tuple[str, list[list[str]]]:
    """The first table's caption and rows."""
    model = build(options.hidden, options.layers).to(options.device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    tokens = torch.randint(1024, (options.batch, options.tokens), device=options.device)
    masks = Masks(model, Pruning(schedule=Cubic(final=0.5)))
    sparsity = [0.30]

    def step() -> None:
        optimizer.zero_grad()
        model(input_ids=tokens, labels=tokens).loss.backward()
        optimizer.step()

    def move() -> None:
        sparsity[0] += 0.2 / (options.repeats + 3)
        masks.update(sparsity[0])
        masks.apply_to_optimizer(optimizer)
        masks.apply()

    step()
    move()
    cases = {"step": step, "still": masks.apply_to_gradients, "move": move}
    seconds = bench.interleaved(cases, options.repeats, warmups=1, clock=CLOCKS[options.device])
    plain = seconds["step"]
    still = [step + here for step, here in zip(plain, seconds["still"], strict=True)]
    moving = [here + move / options.every for here, move in zip(still, seconds["move"], strict=True)]
    rows = [
        ["without masks", bench.milliseconds(plain), bench.ratio(plain, plain)],
        ["masks that stand still", bench.milliseconds(still), _exact(still, plain)],
        [f"masks that move every {options.every} steps, mean of them", bench.milliseconds(moving), _exact(moving, plain)],
        ["(setting the gradients of pruned weights to zero)", bench.milliseconds(seconds["still"]), ""],
        ["(one move: scores, thresholds, masks, moments, weights)", bench.milliseconds(seconds["move"]), ""],
    ]
    size = f"{masks.num_weights() / 1e6:.1f} M prunable weights in {len(masks.modules)} layers"
    return f"{size}, {options.batch} x {options.tokens} tokens", rows


def _exact(seconds: list[float], floor: list[float]) -> str:
    """Ratios that differ in the third digit."""
    ratios = sorted(a / b for a, b in zip(seconds, floor, strict=True))
    return f"{ratios[len(ratios) // 2]:.4f}x ({ratios[0]:.4f}-{ratios[-1]:.4f})"


def select(numbers: torch.Tensor, k: int, how: str) -> float:
    """The k-th largest."""
    if how == "hf_compress":
        at_once = 2**20 if numbers.device.type == "cpu" else 2**26  # layers are of about that size
        return largest(lambda: numbers.split(at_once), k, numbers.numel()).threshold
    if how == "torch.kthvalue":
        return float(numbers.kthvalue(numbers.numel() - k + 1).values)
    return float(numbers.topk(k, sorted=False).values.min())


def threshold_case(options: argparse.Namespace, how: str) -> dict[str, Any]:
    """One way, in this process."""
    numbers = torch.empty(options.millions * 10**6, device=options.device)
    for part in numbers.split(10**7):
        part.normal_().abs_()
    select(numbers[: 10**6].clone(), 10**5, how)  # what is loaded at the first call
    return _measured(lambda: select(numbers, numbers.numel() // 2, how), numbers.numel() * 4, options.device)


def prune_case(options: argparse.Namespace, how: str) -> dict[str, Any]:
    """One way of pruning a block once, in this process."""
    model = LlamaForCausalLM(LlamaConfig(**BLOCK)).eval()
    batches = [{"input_ids": torch.randint(512, (4, 256))} for _ in range(8)]
    name, _, pattern = how.partition(" ")
    asked: dict[str, Any] = {"schedule": Constant(final=0.5)} | ({"pattern": NM(n=2, m=4)} if pattern == "2:4" else {})
    jobs: dict[str, Callable[[], object]] = {
        "SparseGPT": lambda: prune(model, Pruning(**asked), calibration=batches, solver=SparseGPT()),
        "Wanda": lambda: prune(model, Pruning(criterion=Wanda(), **asked), calibration=batches),
    }
    weights = sum(module.weight.numel() for module in Masks(model, Pruning()).modules.values())
    model(**batches[0])
    return {"weights": weights, **_measured(jobs[name], weights * 4)}


def _measured(act: Callable[[], object], size_bytes: int, device: str = "cpu") -> dict[str, Any]:
    clock = CLOCKS[device]
    before = _peak_bytes(device)
    began = clock()
    found = act()
    seconds = clock() - began
    extra = _peak_bytes(device) - before
    number = found if isinstance(found, float) else None
    return {"seconds": seconds, "extra_bytes": extra, "share": extra / size_bytes, "found": number}


def _peak_bytes(device: str) -> int:
    """Of this process; on a GPU since the last call."""
    if device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    most = torch.cuda.max_memory_allocated()
    torch.cuda.reset_peak_memory_stats()
    return most


def in_processes(options: argparse.Namespace, cases: list[str], rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Each case in a process of its own, one after the other, round by round."""
    found: dict[str, list[dict[str, Any]]] = {case: [] for case in cases}
    for number in range(rounds):
        for case in cases:
            bench.progress(f"{case}, round {number + 1} of {rounds}")
            command = [sys.executable, str(Path(__file__)), "--case", case, "--threads", str(options.threads)]
            command += ["--millions", str(options.millions), "--seed", str(options.seed), "--device", options.device]
            if case.startswith("llm-compressor"):
                command = [options.peer, str(Path(__file__).with_name("_llm_compressor.py")), case]
                command += [json.dumps(BLOCK), str(options.threads)]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found[case].append(json.loads(output.splitlines()[-1]))
    return found


def threshold_rows(options: argparse.Namespace) -> list[list[str]]:
    """The second table's rows."""
    found = in_processes(options, THRESHOLDS, options.rounds)
    if len({run["found"] for runs in found.values() for run in runs}) != 1:
        raise SystemExit("the thresholds differ")
    ours = [run["seconds"] for run in found["hf_compress"]]
    rows = []
    for case, runs in found.items():
        seconds = [run["seconds"] for run in runs]
        share = max(run["share"] for run in runs)
        rows.append([case, _seconds(seconds), bench.ratio(seconds, ours), f"{100 * share:.2f} %"])
    return rows


def prune_rows(options: argparse.Namespace) -> list[list[str]]:
    """The third table's rows."""
    rows = []
    peers = [f"llm-compressor {case}" for case in PRUNINGS] if options.peer else []
    for case, runs in in_processes(options, PRUNINGS + peers, options.rounds).items():
        millions = runs[0]["weights"] / 1e6
        seconds = [run["seconds"] / millions for run in runs]
        extra = max(run["extra_bytes"] for run in runs) / millions / 1e6
        rows.append([case, f"{millions:.2f} M", _seconds(seconds), f"{extra:.1f} MB"])
    return rows


def _seconds(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    return f"{ordered[len(ordered) // 2]:.3f} ({ordered[0]:.3f}-{ordered[-1]:.3f})"


def _when_done() -> float:
    """The time when everything that a GPU was asked for is done."""
    torch.cuda.synchronize()
    return time.perf_counter()


CLOCKS: dict[str, Callable[[], float]] = {"cpu": time.process_time, "cuda": _when_done}
THRESHOLDS = ["hf_compress", "torch.kthvalue", "torch.topk"]
PRUNINGS = ["Wanda 50 %", "Wanda 2:4", "SparseGPT 50 %", "SparseGPT 2:4"]


def main() -> None:
    """The tables, or one case of them as JSON."""
    parser = bench.parser(__doc__.splitlines()[0], repeats=9)
    parser.add_argument("--every", type=int, default=10, help="steps between two moves of the masks")
    parser.add_argument(
        "--millions", type=int, default=500, help="numbers that one threshold is looked for in, in millions"
    )
    parser.add_argument("--rounds", type=int, default=3, help="processes that each case of the last two tables runs in")
    parser.add_argument("--peer", default=None, help="a Python that has llm-compressor, to measure beside it")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where the first two tables are measured")
    parser.add_argument("--hidden", type=int, default=512, help="hidden_size of the Llama that steps")
    parser.add_argument("--layers", type=int, default=4, help="num_hidden_layers of it")
    parser.add_argument("--batch", type=int, default=4, help="sequences of a step")
    parser.add_argument("--tokens", type=int, default=128, help="tokens of a sequence")
    parser.add_argument("--case", default=None, help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=["step", "threshold", "once"], nargs="+", default=["step", "threshold", "once"])
    options = parser.parse_args()
    bench.prepare(options)
    if options.case is not None:
        print(json.dumps((threshold_case if options.case in THRESHOLDS else prune_case)(options, options.case)))
        return
    parts, unit = [bench.header("Pruning", ["hf_compress", "transformers"])], "CPU " if options.device == "cpu" else ""
    if "step" in options.only:
        caption, rows = step_rows(options)
        parts += [f"In a training step: {caption}; median (smallest-largest) of {options.repeats} interleaved rounds"]
        parts += [bench.table(["step", f"{unit}ms", "vs without masks"], rows)]
    if "threshold" in options.only:
        parts += [
            f"One threshold over {options.millions} M fp32 numbers, k = half of them; {options.rounds} processes each"
        ]
        head = ["way", f"{unit}s", "vs hf_compress", "extra memory, of the numbers"]
        parts += [bench.table(head, threshold_rows(options))]
    if "once" in options.only:
        parts += ["Once, with data: one block of SmolLM2-135M's layers, 8 batches of 4 x 256 tokens, statistics included"]
        head = ["way", "weights", "CPU s per million", "extra memory per million"]
        parts += [bench.table(head, prune_rows(options))]
    bench.emit(parts, options.out)


if __name__ == "__main__":
    main()
