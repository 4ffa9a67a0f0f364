"""A trained model dense, in int8, in int4 and pruned: bytes, latency and quality, through PyTorch and other runtimes.

    python scripts/bench/final_numbers.py --model out/dense --task sequence_classification --data data/sst2 --length 64

Each is made in one step from the dense model, without training: W8A8, W4A16, and half of the weights zero by magnitude.
Packed ones are taken by PyTorch alone. Every model takes turns with the dense one in the same runtime: its speed against
it, with a 95 % interval, is what compares them; medians of different rows were measured at different times. "not faster"
is said where the rounds do not show that it is faster.
"""

import argparse
import tempfile
from pathlib import Path

import _benchmark as bench
from transformers import AutoTokenizer

from hf_compress import (
    Constant,
    Cost,
    Data,
    ModelEvaluation,
    Pruning,
    Quantization,
    evaluate_model,
    measure_cost,
    prune,
    quantize,
    save_compressed,
    save_dense,
)
from hf_compress._errors import CompressionError
from hf_compress._units import format_bytes
from hf_compress.evaluation.cost.loading import load_to_run
from hf_compress.evaluation.cost.report import format_s
from hf_compress.evaluation.cost.rounds import Speedup
from hf_compress.evaluation.cost.runtime import Runtime
from hf_compress.evaluation.evaluation_table import aligned
from hf_compress.quantization.schemes.presets import W4A16
from hf_compress.tasks.task import Task


def write_all(dense: Path, task: Task, folder: Path, group_size: int) -> dict[str, Path]:
    """Name -> checkpoint, the dense one first."""
    import torch

    def fresh():
        return load_to_run(dense, task.head.auto_class, "float32", torch.device("cpu"))

    tokenizer, made = AutoTokenizer.from_pretrained(dense), {"dense": dense}
    for name, scheme in (("int8 (W8A8)", "W8A8"), ("int4 (W4A16)", W4A16(group_size=group_size))):
        model = fresh()
        quantize(model, Quantization(scheme=scheme))
        made[name] = save_compressed(model, folder / name.partition(" ")[0], tokenizer)
    model = fresh()
    prune(model, Pruning(schedule=Constant(final=0.5)))
    made["50 % zeros"] = save_dense(model, folder / "pruned", tokenizer)
    return made


def timed(folder: Path, dense: Path, task: Task, name: str, options: argparse.Namespace) -> dict[str, str]:
    """What -> median, and the speed against the dense model in the same rounds, in one runtime."""
    cost = Cost(
        batch=(1,),
        length=(options.length,),
        runtimes=(Runtime.create(name),),
        rounds=options.repeats,
        new_tokens=options.new_tokens,
        dtype="float32",
        device="cpu",
        memory=False,
    )
    try:
        report = measure_cost(folder, None if folder == dense else dense, task, cost)
    except CompressionError as error:
        print(f"{folder.name} in {name}: {error}", flush=True)
        return {}
    mine = [one for one in report.timings if one.model == report.models[-1].name]
    return {one.what: format_s(one.median_s) + _against_dense(one.speedup) for one in mine}


def _against_dense(fast: Speedup | None) -> str:
    if fast is None:
        return ""
    said = "" if fast.faster else ", not faster"
    return f", {fast.median:.2f}x ({fast.low:.2f} to {fast.high:.2f}){said}"


def main() -> None:
    options = bench.parser(__doc__.splitlines()[0], repeats=10)
    options.add_argument("--model", type=Path, required=True, help="a trained dense checkpoint")
    options.add_argument("--task", required=True, help="what it is for")
    options.add_argument("--data", required=True, help="what it is measured on: all rows of the test split")
    options.add_argument("--length", type=int, default=128, help="tokens")
    options.add_argument("--eval_length", type=int, default=None, help="tokens of a row that quality is measured on")
    options.add_argument("--group_size", type=int, default=64, help="of int4")
    options.add_argument("--max_eval", type=int, default=None, help="rows that are measured")
    options.add_argument("--new_tokens", type=int, default=16, help="that a language model writes")
    options.add_argument("--runtimes", nargs="+", default=["eager", "compile", "onnxruntime", "openvino"])
    asked = options.parse_args()
    bench.prepare(asked)
    task = Task.create(asked.task, length=asked.length)
    measured = Task.create(asked.task, length=asked.eval_length or asked.length)
    text = bench.header(
        f"Final numbers: {asked.model.name}", ("transformers", "compressed-tensors", "onnxruntime", "openvino")
    )
    print(text, flush=True)
    with tempfile.TemporaryDirectory() as place:
        models = write_all(asked.model, task, Path(place), asked.group_size)
        quality, sizes = {}, {}
        for name, folder in models.items():
            data = Data(path=asked.data, max_eval=asked.max_eval)
            report = evaluate_model(ModelEvaluation(model=str(folder), task=measured, data=data))
            quality[name] = f"{report.rows[0].metrics[task.metric]:.4f}"
            sizes[name] = format_bytes(report.rows[0].file_bytes)
            print(name, sizes[name], quality[name], flush=True)
        lines = []
        for name, folder in models.items():
            for runtime in asked.runtimes:
                found = timed(folder, asked.model, task, runtime, asked)
                print(name, runtime, found, flush=True)
                if found:
                    whats = ("forward", "first token", "next token")
                    lines.append([name, sizes[name], quality[name], runtime, *(found.get(what, "-") for what in whats)])
    writes = any(line[-1] != "-" for line in lines)
    head = ["model", "on disk", task.metric, "runtime", "forward", "first token", "next token"]
    rows = [head, *lines] if writes else [line[:5] for line in [head, *lines]]
    table = aligned(rows)
    print(table, flush=True)
    if asked.out is not None:
        asked.out.write_text(f"{text}\n\n{table}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
