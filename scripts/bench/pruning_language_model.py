"""What pruning costs a pretrained language model, and what a short distillation gives back: perplexity, minutes, memory.

    python scripts/bench/pruning_language_model.py --model MODEL --data data/wikitext --folder out --rows sparsegpt-50
    python scripts/bench/pruning_language_model.py --model MODEL --data data/wikitext --folder out --table

A row is how the model is made smaller: CRITERION-50 and CRITERION-2:4 (magnitude, wanda, ria, sparsegpt; with `+fit`
behind it the weights that stay are fitted to what each part of a block gave before), layers-N, heads-N and ffn-SHARE
(shrunk: they are gone; influence-N are layers that go all at once, by their influence, and not one by one), and
gradual-50, gradual-2:4 (by magnitude, during the training). Each is measured, trained for --steps steps on --data with the
model as its teacher and, but for --task_weight, without labels, zeros kept, and measured again. dense is the model as it
is, dense-alike what the same training makes of it: what is better than dense by as much is no merit of the pruning. A row
and its models are written as soon as there are any; `--table` prints all that there are.

With --hidden_weight the hidden states are taught as well: behind each layer those that the student's next one gets in the
teacher.

With --sampled the training goes over so many texts more, which the model itself writes: where there is little text, the
teacher has more to say than that. --repeated keeps them from being too few beside the others.

With --device cuda all of it runs on a GPU, in fp32 as on the CPU; memory is then that of the GPU.

Perplexity is that of the first --blocks blocks of --length tokens of the test split, documents joined by empty lines, or
with --texts that of the first --length tokens of each document.
"""

import argparse
import datetime
import itertools
import json
import math
import os
import random
import resource
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import _benchmark as bench
import torch
from datasets import Dataset, load_dataset
from torch import nn
from torch.nn.utils.rnn import pad_sequence
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainingArguments

from hf_compress import (
    NM,
    RIA,
    CompressionTrainer,
    Constant,
    Cubic,
    Distillation,
    ForwardKL,
    Magnitude,
    ModelTeacher,
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
from hf_compress.distillation.loss import FeatureLoss
from hf_compress.distillation.signal import Signal

CRITERIA = {"magnitude": Magnitude(), "wanda": Wanda(), "ria": RIA(), "sparsegpt": Magnitude()}
PATTERNS = {"50": Unstructured(), "2:4": NM(n=2, m=4)}
SHRUNK = {
    "layers": lambda amount: ShrinkPlan(layers=int(amount), depth="loss"),
    "influence": lambda amount: ShrinkPlan(layers=int(amount)),
    "ffn": lambda amount: ShrinkPlan(feed_forward=float(amount)),
    "heads": lambda amount: ShrinkPlan(heads=float(amount)),
}
_AT_ONCE = 2048
"""Texts that are written side by side."""
_BEGUN_AT_ONCE = 256
"""Of those that go on with others, whose beginnings are equally long."""


@dataclass(frozen=True, kw_only=True)
class StatesBetween(FeatureLoss, name="states_between"):
    """mean over the student's layers of ||student - teacher||^2 / ||teacher||^2, of the hidden states behind each.

    Attributes:
        places: of the teacher's hidden states, for each of the student's layers.
    """

    places: tuple[int, ...]

    def __call__(self, student: Signal, teacher: Signal, keep: torch.Tensor, projection: nn.Module | None) -> torch.Tensor:
        """(B, T)."""
        missed = []
        for layer, place in enumerate(self.places, 1):
            wanted = teacher.hidden_states[place]
            squares = (student.hidden_states[layer] - wanted).square().sum(-1)
            missed.append(squares / wanted.square().sum(-1).clamp_min(1e-30))
        return torch.stack(missed).mean(0)


def states_between(student: Any, teacher: Any) -> StatesBetween:
    """For a student from which some of the teacher's layers are gone, the others as they were; or none."""
    own, whole = student.model.layers, teacher.model.layers
    kept = list(range(len(whole)))
    if len(own) < len(whole):
        kept = [
            next(
                place
                for place, other in enumerate(whole)
                if torch.equal(layer.mlp.up_proj.weight, other.mlp.up_proj.weight)
            )
            for layer in own
        ]
    return StatesBetween(places=(*kept[1:], len(whole)))


def blocks_of(
    folder: Path, split: str, tokenizer: Any, length: int, texts: bool, count: int | None = None
) -> list[list[int]]:
    """The split as one text in whole blocks, or each document's beginning behind a first token."""
    documents = load_dataset("parquet", data_files=str(folder / f"{split}.parquet"), split="train")["text"][:]
    if texts:
        ids = tokenizer(documents, add_special_tokens=False, verbose=False)["input_ids"]
        return [[tokenizer.bos_token_id, *one][:length] for one in ids][:count]
    ids = tokenizer("\n\n".join(documents), verbose=False)["input_ids"]
    starts = range(0, len(ids) - length + 1, length)
    return [ids[start : start + length] for start in starts][:count]


@torch.no_grad()
def sampled(
    model: Any, tokenizer: Any, count: int, length: int, seed: int, begun: list[list[int]] | None = None
) -> list[list[int]]:
    """Texts that a model writes as it weighs them, up to the token that ends one: from its first token on, or going on with
    beginnings of others, of as many tokens as chance says.
    """
    torch.manual_seed(seed)
    chance = random.Random(seed)
    model.eval()
    ends, rows = {tokenizer.bos_token_id, tokenizer.eos_token_id}, []
    at_once = _AT_ONCE if begun is None else _BEGUN_AT_ONCE
    for start in range(0, count, at_once):
        size = min(at_once, count - start)
        first = torch.full((size, 1), tokenizer.bos_token_id, device=model.device)
        if begun is not None:
            known = chance.randrange(8, length // 2)
            longer = [ids for ids in begun if len(ids) > known]
            first = torch.tensor([chance.choice(longer)[:known] for _ in range(size)], device=model.device)
        written = model.generate(
            first,
            attention_mask=torch.ones_like(first),
            do_sample=True,
            top_k=0,
            max_new_tokens=length - first.shape[1],
            pad_token_id=tokenizer.eos_token_id,
        )
        for ids in written.tolist():
            end = next((place for place, one in enumerate(ids) if place and one in ends), len(ids))
            rows.append(ids[:end])
        bench.progress(f"{len(rows)} of {count} texts written")
    return [ids for ids in rows if len(ids) > 1]


def collate(rows: list[Any]) -> dict[str, torch.Tensor]:
    """Rows of a batch, the shorter ones padded at the end."""
    ids = [torch.tensor(row["input_ids"] if isinstance(row, dict) else row) for row in rows]
    mask = [torch.ones_like(one) for one in ids]
    padded = {
        "input_ids": pad_sequence(ids, batch_first=True),
        "attention_mask": pad_sequence(mask, batch_first=True),
        "labels": pad_sequence(ids, batch_first=True, padding_value=-100),
    }
    if bool(padded["attention_mask"].all()):
        del padded["attention_mask"]
    return padded


def batches_of(blocks: list[list[int]], size: int) -> list[dict[str, torch.Tensor]]:
    return [collate(blocks[at : at + size]) for at in range(0, len(blocks), size)]


@torch.no_grad()
def perplexity(model: Any, blocks: list[list[int]]) -> float:
    """exp of the mean loss of all tokens but the first of each row."""
    model.eval()
    total = 0.0
    for block in blocks:
        ids = torch.tensor([block], device=model.device)
        total += float(model(input_ids=ids, labels=ids).loss) * (len(block) - 1)
    return math.exp(total / sum(len(block) - 1 for block in blocks))


def made_smaller(model: Any, row: str, calibration: list[dict[str, torch.Tensor]], options: argparse.Namespace) -> Any:
    """The model of a row before any training."""
    how, _, amount = row.removesuffix("+fit").rpartition("-")
    if how in SHRUNK:
        # By loss the model is run once for each layer that could be next, so that fewer rows are looked at.
        rows = calibration[: options.depth_rows] if how == "layers" else calibration
        return shrink(model, choose_parts(model, SHRUNK[how](amount), rows))
    if how in ("gradual", "dense"):
        return model
    prune(
        model,
        Pruning(criterion=CRITERIA[how], pattern=PATTERNS[amount], schedule=Constant(final=0.5)),
        calibration,
        solver=SparseGPT() if how == "sparsegpt" else None,
        in_order=how in ("wanda", "ria"),
        reconstruct=Reconstruction(steps=options.fit_steps) if row.endswith("+fit") else None,
    )
    return model


def pruning_of(row: str) -> Pruning | None:
    """What the training does about zeros."""
    how, _, amount = row.removesuffix("+fit").rpartition("-")
    if how in (*SHRUNK, "dense"):
        return None
    if how == "gradual":
        return Pruning(pattern=PATTERNS[amount], schedule=Cubic(final=0.5, begin="0%", end="40%"))
    return Pruning(masks="from_zeros")


def trained(model: Any, row: str, blocks: list[list[int]], options: argparse.Namespace, folder: Path) -> Any:
    """After --steps steps with the whole model as teacher."""
    teacher = opened(options.model, options)
    losses = [WeightedLoss(weight=1.0 - options.task_weight, loss=ForwardKL())]
    if options.hidden_weight:
        losses.append(WeightedLoss(weight=options.hidden_weight, loss=states_between(model, teacher)))
    trainer = CompressionTrainer(
        model=model,
        args=TrainingArguments(
            output_dir=str(folder / "run"),
            max_steps=options.steps,
            per_device_train_batch_size=options.batch_size,
            learning_rate=options.learning_rate,
            lr_scheduler_type="cosine",
            warmup_steps=10,
            logging_steps=10,
            save_strategy="no",
            report_to=[],
            use_cpu=options.device == "cpu",
            seed=options.seed,
        ),
        data_collator=collate,
        train_dataset=Dataset.from_dict({"input_ids": blocks}),
        pruning=pruning_of(row),
        distillation=Distillation(
            teacher=ModelTeacher(model=teacher),
            losses=tuple(losses),
            task_weight=options.task_weight,
        ),
    )
    trainer.train()
    made = trainer.finalize()
    shutil.rmtree(folder / "run", ignore_errors=True)
    return made


def opened(folder: Path, options: argparse.Namespace) -> Any:
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).to(options.device)


def peak_mb(options: argparse.Namespace) -> float:
    """Of this process, or of what it has taken of a GPU."""
    if options.device == "cpu":
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return torch.cuda.max_memory_allocated() / 2**20


def measure(row: str, options: argparse.Namespace) -> dict[str, Any]:
    """The row's numbers; its models stay beside them."""
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    test = blocks_of(options.data, "test", tokenizer, options.length, options.texts, options.blocks)
    train = blocks_of(options.data, "train", tokenizer, options.train_length, options.texts)
    model = opened(options.model, options)
    found: dict[str, Any] = {"row": row, "date": datetime.date.today().isoformat(), "threads": torch.get_num_threads()}
    found |= {"load": os.getloadavg()[0], "device": options.device}
    if row == "dense":
        return found | {"parameters": model.num_parameters(), "once": perplexity(model, test)}
    place = options.folder / row.replace(":", "of").replace("+", "-")
    once = place / "once"
    if once.exists():
        found |= json.loads((place / "once.json").read_text())
        model = opened(once, options)
    else:
        start, before = time.perf_counter(), peak_mb(options)
        calibration = batches_of(train[:: len(train) // options.calibration][: options.calibration], 1)
        model = made_smaller(model, row, calibration, options)
        spent = {"once_minutes": (time.perf_counter() - start) / 60, "once_mb": peak_mb(options) - before}
        spent |= {"parameters": model.num_parameters(), "once": perplexity(model, test)}
        save_dense(model, once, tokenizer)
        (place / "once.json").write_text(json.dumps(spent))
        found |= spent
        bench.progress(f"{row}: perplexity {spent['once']:.2f}")
    if options.steps:
        start = time.perf_counter()
        if options.sampled:
            whole = opened(options.model, options)
            begun = train if options.begun else None
            written = sampled(whole, tokenizer, options.sampled, options.train_length, options.seed, begun)
            train = train * options.repeated + written
        model = trained(model, row, train, options, place)
        found |= {
            "steps": options.steps,
            "sampled": options.sampled,
            "repeated": options.repeated,
            "begun": options.begun,
            "train_length": options.train_length,
            "batch_size": options.batch_size,
            "task_weight": options.task_weight,
            "hidden_weight": options.hidden_weight,
            "learning_rate": options.learning_rate,
            "minutes": (time.perf_counter() - start) / 60,
            "mb": peak_mb(options),
            "trained": perplexity(model, test),
        }
        result = place / f"trained-{options.task_weight:g}"
        shutil.rmtree(result, ignore_errors=True)
        save_dense(model, result, tokenizer)
        bench.progress(f"{row}: perplexity {found['trained']:.2f} after {options.steps} steps")
    return found


def table(folder: Path) -> str:
    """The newest numbers of each row, in the order in which rows came first, and of each way of training it."""
    once: dict[str, dict[str, Any]] = {}
    trainings: dict[str, dict[Any, dict[str, Any]]] = {}
    for line in (folder / "rows.jsonl").read_text().splitlines():
        one = json.loads(line)
        once[one["row"]] = once.get(one["row"], {}) | one
        if "trained" in one:
            trainings.setdefault(one["row"], {})[_training(one)] = one
    dense = once["dense"]["once"]
    head = ["row", "parameters", "perplexity", "of dense", "minutes", "extra MB"]
    head += ["after", "perplexity", "of dense", "minutes", "MB"]
    lines = []
    for name, found in once.items():
        first = [name, f"{found['parameters'] / 1e6:.2f} M", f"{found['once']:.2f}", f"{found['once'] / dense:.2f}x"]
        first += [f"{found['once_minutes']:.1f}", f"{found['once_mb']:.0f}"] if "once_minutes" in found else ["-", "-"]
        after = [
            [how, f"{one['trained']:.2f}", f"{one['trained'] / dense:.2f}x", f"{one['minutes']:.1f}", f"{one['mb']:.0f}"]
            for how, one in trainings.get(name, {}).items()
        ]
        lines += [first + one for one in after or [["-"] * (len(head) - len(first))]]
    return bench.table(head, lines)


def _training(one: dict[str, Any]) -> str:
    """How a model was trained, in words."""
    text = f"{one['steps']} x {one['batch_size']} rows"
    text += f" of {one['train_length']} tokens" if "train_length" in one else ""
    text += f", lr {one['learning_rate']:g}"
    text += f", labels {one['task_weight']:g}" if one["task_weight"] else ""
    text += f", hidden states {one['hidden_weight']:g}" if one.get("hidden_weight") else ""
    if one.get("sampled"):
        text += f", {one['sampled']} written texts" + (" that go on with others" if one.get("begun") else "")
        text += f", the others {one['repeated']} times" if one.get("repeated", 1) > 1 else ""
    return text


def main() -> None:
    options = bench.parser(__doc__.splitlines()[0], repeats=5)
    options.add_argument("--model", type=Path, required=True, help="a dense language model")
    options.add_argument(
        "--data", type=Path, required=True, help="a folder with train.parquet and test.parquet, column text"
    )
    options.add_argument("--folder", type=Path, required=True, help="where models and numbers go")
    options.add_argument("--rows", nargs="*", default=[])
    options.add_argument("--table", action="store_true", help="print all rows that were measured into --folder")
    options.add_argument("--texts", action="store_true", help="a row is a document, and not a block of all")
    options.add_argument("--length", type=int, default=1024, help="tokens of a row of the test")
    options.add_argument("--blocks", type=int, default=40, help="rows of the test")
    options.add_argument("--train_length", type=int, default=512, help="tokens of a row of the training")
    options.add_argument("--calibration", type=int, default=32, help="rows of the training that are looked at")
    options.add_argument("--depth_rows", type=int, default=2, help="rows by whose loss layers-N is chosen")
    options.add_argument("--fit_steps", type=int, default=200, help="of each part, with +fit")
    options.add_argument("--steps", type=int, default=200, help="of the distillation; 0 leaves it out")
    options.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where all of it runs")
    options.add_argument("--sampled", type=int, default=0, help="texts that the model writes for the training")
    options.add_argument("--repeated", type=int, default=1, help="times that each text of --data is in the training then")
    options.add_argument("--begun", action="store_true", help="they go on with beginnings of texts of --data")
    options.add_argument("--batch_size", type=int, default=1)
    options.add_argument("--learning_rate", type=float, default=1e-4)
    options.add_argument(
        "--task_weight", type=float, nargs="+", default=[0.0], help="of the labels, beside the teacher; one training each"
    )
    options.add_argument("--hidden_weight", type=float, default=0.0, help="of the hidden states")
    asked = options.parse_args()
    bench.prepare(asked)
    asked.folder.mkdir(parents=True, exist_ok=True)
    for row, weight in itertools.product(asked.rows, asked.task_weight):
        numbers = json.dumps(measure(row, argparse.Namespace(**{**vars(asked), "task_weight": weight})))
        with (asked.folder / "rows.jsonl").open("a") as file:
            file.write(numbers + "\n")
    if asked.table:
        bench.emit([bench.header(f"Pruning {asked.model.name}"), table(asked.folder)], asked.out)


if __name__ == "__main__":
    main()
