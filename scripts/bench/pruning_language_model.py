"""What pruning costs a pretrained language model, and what a short distillation gives back: perplexity, minutes, memory.

    python scripts/bench/pruning_language_model.py --model MODEL --data data/wikitext --folder out/pruned --rows sparsegpt-50
    python scripts/bench/pruning_language_model.py --model MODEL --data data/wikitext --folder out/pruned --table

A row is how the model is made smaller: CRITERION-50 and CRITERION-2:4 (magnitude, wanda, ria, sparsegpt; with `+fit` behind it
the weights that stay are fitted to what each part of a block gave before), layers-N and ffn-SHARE (shrunk: they are gone). Each
is measured, trained for --steps steps on --data with the model as its teacher and no labels, zeros kept, and measured again.
One process does one row at a time and writes it beside the models; `--table` prints all that there are. Perplexity is that of
the first --blocks blocks of --length tokens of the test split.
"""

import argparse
import json
import math
import resource
import shutil
import time
from pathlib import Path
from typing import Any

import _benchmark as bench
import torch
from datasets import Dataset, load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainingArguments

from hf_compress import (
    RIA,
    CompressionTrainer,
    Constant,
    Distillation,
    ForwardKL,
    Magnitude,
    NM,
    Pruning,
    Reconstruction,
    ShrinkPlan,
    SparseGPT,
    Unstructured,
    Wanda,
    WeightedLoss,
    choose_parts,
    prune,
    save_dense,
    shrink,
)

CRITERIA = {"magnitude": Magnitude(), "wanda": Wanda(), "ria": RIA(), "sparsegpt": Magnitude()}
PATTERNS = {"50": Unstructured(), "2:4": NM(n=2, m=4)}


def blocks_of(folder: Path, split: str, tokenizer: Any, length: int, count: int | None = None) -> list[list[int]]:
    """The split as one text, in blocks; the rest is left out."""
    texts = load_dataset("parquet", data_files=str(folder / f"{split}.parquet"), split="train")["text"]
    ids = tokenizer("\n\n".join(texts), verbose=False)["input_ids"]
    starts = range(0, len(ids) - length + 1, length)
    return [ids[start : start + length] for start in starts][:count]


def batches_of(blocks: list[list[int]], size: int) -> list[dict[str, torch.Tensor]]:
    return [{"input_ids": torch.tensor(blocks[at : at + size])} for at in range(0, len(blocks), size)]


@torch.no_grad()
def perplexity(model: Any, blocks: list[list[int]]) -> float:
    """exp of the mean loss of all tokens but the first of each block."""
    model.eval()
    losses = [float(model(input_ids=ids, labels=ids).loss) for ids in (torch.tensor([one]) for one in blocks)]
    return math.exp(sum(losses) / len(losses))


def made_smaller(model: Any, row: str, calibration: list[dict[str, torch.Tensor]], options: argparse.Namespace) -> Any:
    """The model of a row before any training."""
    how, _, amount = row.removesuffix("+fit").rpartition("-")
    if how == "layers":
        return shrink(model, choose_parts(model, ShrinkPlan(layers=int(amount)), calibration))
    if how == "ffn":
        return shrink(model, choose_parts(model, ShrinkPlan(feed_forward=float(amount)), calibration))
    prune(
        model,
        Pruning(criterion=CRITERIA[how], pattern=PATTERNS[amount], schedule=Constant(final=0.5)),
        calibration,
        solver=SparseGPT() if how == "sparsegpt" else None,
        in_order=how in ("wanda", "ria"),
        reconstruct=Reconstruction(steps=options.fit_steps) if row.endswith("+fit") else None,
    )
    return model


def trained(model: Any, row: str, blocks: list[list[int]], options: argparse.Namespace, folder: Path) -> Any:
    """After --steps steps with the whole model as teacher; zeros stay."""
    pruned = not row.startswith(("layers", "ffn"))
    pattern = PATTERNS[row.removesuffix("+fit").rpartition("-")[2]] if pruned else None
    teacher = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    trainer = CompressionTrainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(folder / "run"),
            max_steps=options.steps,
            per_device_train_batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=10,
            max_grad_norm=1.0,
            logging_steps=10,
            save_strategy="no",
            report_to=[],
            use_cpu=True,
            seed=options.seed,
        ),
        train_dataset=Dataset.from_dict({"input_ids": blocks, "labels": blocks}),
        pruning=Pruning(schedule=Constant(final=0.0 if pattern is None else 0.0)) if pruned else None,
        distillation=Distillation(
            teacher=teacher,
            losses=[WeightedLoss(weight=1.0 - options.task_weight, loss=ForwardKL())],
            task_weight=options.task_weight,
        ),
    )
    trainer.train()
    made = trainer.finalize()
    shutil.rmtree(folder / "run", ignore_errors=True)
    return made


def measure(row: str, options: argparse.Namespace) -> dict[str, Any]:
    """The row's numbers; its models stay beside them."""
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    test = blocks_of(options.data, "test", tokenizer, options.length, options.blocks)
    train = blocks_of(options.data, "train", tokenizer, options.train_length)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32)
    found: dict[str, Any] = {"row": row, "threads": torch.get_num_threads(), "load": bench.os.getloadavg()[0]}
    if row == "dense":
        return found | {"once": perplexity(model, test)}
    place = options.folder / row.replace(":", "of").replace("+", "-")
    once = place / "once"
    if once.exists():
        found |= json.loads((place / "once.json").read_text())
        model = AutoModelForCausalLM.from_pretrained(once, dtype=torch.float32)
    else:
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        model = made_smaller(model, row, batches_of(train[:: len(train) // options.calibration][: options.calibration], 4), options)
        spent = {"once_minutes": (time.perf_counter() - start) / 60}
        spent["once_peak_mb"] = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
        spent["parameters"] = sum(one.numel() for one in model.parameters())
        spent["once"] = perplexity(model, test)
        save_dense(model, once, tokenizer)
        (place / "once.json").write_text(json.dumps(spent))
        found |= spent
        bench.progress(f"{row}: perplexity {spent['once']:.2f}")
    if options.steps:
        start = time.perf_counter()
        model = trained(model, row, train, options, place)
        found |= {
            "steps": options.steps,
            "tokens": options.steps * options.batch_size * options.train_length,
            "task_weight": options.task_weight,
            "minutes": (time.perf_counter() - start) / 60,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            "trained": perplexity(model, test),
        }
        save_dense(model, place / "trained", tokenizer)
    return found


def main() -> None:
    options = bench.parser(__doc__.splitlines()[0], repeats=5)
    options.add_argument("--model", type=Path, required=True, help="a dense language model")
    options.add_argument("--data", type=Path, required=True, help="a folder with train.parquet and test.parquet, column text")
    options.add_argument("--folder", type=Path, required=True, help="where models and numbers go")
    options.add_argument("--rows", nargs="*", default=[])
    options.add_argument("--table", action="store_true")
    options.add_argument("--length", type=int, default=1024, help="tokens of a block of the test")
    options.add_argument("--blocks", type=int, default=40, help="of the test")
    options.add_argument("--train_length", type=int, default=512, help="tokens of a block of the training")
    options.add_argument("--calibration", type=int, default=32, help="blocks of the training that are looked at")
    options.add_argument("--fit_steps", type=int, default=200, help="of each part, with +fit")
    options.add_argument("--steps", type=int, default=200, help="of the distillation; 0 leaves it out")
    options.add_argument("--batch_size", type=int, default=1)
    options.add_argument("--learning_rate", type=float, default=1e-4)
    options.add_argument("--task_weight", type=float, default=0.0, help="of the labels, beside the teacher")
    asked = options.parse_args()
    bench.prepare(asked)
    asked.folder.mkdir(parents=True, exist_ok=True)
    for row in asked.rows:
        with (asked.folder / "rows.jsonl").open("a") as file:
            file.write(json.dumps(measure(row, asked)) + "\n")
            file.flush()


if __name__ == "__main__":
    main()
