"""What shrinking costs before any training, by how the parts that go are chosen.

A small language model is left with less of one part at a time, and its mean loss per token on held-out texts is measured:

    batches    chosen on calibration batches: what units and heads write, what norms give in channels, what layers change
    taylor     units, heads and channels by how the loss of the batches would change without them
    weights    units, heads and channels by the norms of their weights
    floor      units, heads and channels drawn anew for each of --draws seeds; of layers every other choice of as many

Nothing is drawn but these, and nothing is timed: the numbers are those of the machine's arithmetic.
"""

import dataclasses
import itertools
import random
import statistics
from pathlib import Path
from typing import Any

import _benchmark as bench
import torch
from datasets import load_dataset
from transformers import AutoModelForCausalLM, AutoTokenizer

from hf_compress import ShrinkPlan, choose_parts, shrink

PLANS: tuple[dict[str, Any], ...] = (
    {"feed_forward": 0.75},
    {"feed_forward": 0.5},
    {"heads": 0.5},
    {"heads": 0.25},
    {"hidden": 0.75},
    {"hidden": 0.5},
    {"layers": 4},
    {"layers": 3},
)


def batches_of(folder: Path, split: str, count: int, tokenizer: Any, length: int) -> list[dict[str, torch.Tensor]]:
    """The first texts of a split, one a batch."""
    texts = load_dataset("parquet", data_files=str(folder / f"{split}.parquet"), split="train")
    column = texts.column_names[0]
    rows = [tokenizer(text, return_tensors="pt").input_ids[:, :length] for text in texts[:count][column]]
    return [{"input_ids": row} for row in rows if row.shape[1] > 1]


@torch.no_grad()
def loss_of(model: Any, batches: list[dict[str, torch.Tensor]]) -> float:
    """Nats per token."""
    total, tokens = 0.0, 0
    for batch in batches:
        predicted = batch["input_ids"].shape[1] - 1
        total += float(model(**batch, labels=batch["input_ids"]).loss) * predicted
        tokens += predicted
    return total / tokens


def other_choices(model: Any, choice: Any, draws: int) -> list[Any]:
    """The floor's choices."""
    (kept,), (whole,) = choice.kept.stacks, choice.made_for.stacks
    if len(kept.layers) < whole.layers:
        others = itertools.combinations(range(whole.layers), len(kept.layers))
        return [choose_parts(model, ShrinkPlan(layers=one)) for one in others if one != kept.layers]
    found = []
    for seed in range(draws):
        generator = random.Random(seed)
        if choice.kept.channels is not None:
            channels = tuple(sorted(generator.sample(range(choice.made_for.hidden), len(choice.kept.channels))))
            found.append(dataclasses.replace(choice, kept=dataclasses.replace(choice.kept, channels=channels)))
            continue
        part, total = ("units", whole.units) if kept.units else ("groups", whole.groups)
        drawn = tuple(tuple(sorted(generator.sample(range(total), len(one)))) for one in getattr(kept, part))
        own = dataclasses.replace(kept, **{part: drawn})
        found.append(dataclasses.replace(choice, kept=dataclasses.replace(choice.kept, stacks=(own,))))
    return found


def main() -> None:
    """One table."""
    parser = bench.parser(__doc__.splitlines()[0], repeats=5)
    parser.add_argument("--model", required=True, help="folder or Hub id of a causal language model")
    parser.add_argument("--texts", type=Path, required=True, help="folder with train.parquet and validation.parquet")
    parser.add_argument("--examples", type=int, default=80, help="texts that are measured on; calibration takes as many")
    parser.add_argument("--length", type=int, default=256, help="tokens of a text at most")
    parser.add_argument("--draws", type=int, default=10, help="seeds of the floor")
    options = parser.parse_args()
    bench.prepare(options)
    model = AutoModelForCausalLM.from_pretrained(options.model, dtype=torch.float32, trust_remote_code=False).eval()
    tokenizer = AutoTokenizer.from_pretrained(options.model, trust_remote_code=False)
    held_out = batches_of(options.texts, "validation", options.examples, tokenizer, options.length)
    calibration = batches_of(options.texts, "train", options.examples, tokenizer, options.length)
    labelled = [{**batch, "labels": batch["input_ids"]} for batch in calibration]
    rows = []
    for plan in PLANS:
        asked = ", ".join(f"{key} {value}" for key, value in plan.items())
        bench.progress(asked)
        choice = choose_parts(model, ShrinkPlan(**plan), calibration)
        floor = sorted(loss_of(shrink(model, one), held_out) for one in other_choices(model, choice, options.draws))
        others = [
            "-"
            if "layers" in plan
            else f"{loss_of(shrink(model, ShrinkPlan(**plan, importance=one), labelled), held_out):.3f}"
            for one in ("taylor", "weights")
        ]
        rows.append(
            [
                asked,
                f"{choice.before.parameters:,} -> {choice.after.parameters:,}",
                f"{loss_of(shrink(model, choice), held_out):.3f}",
                *others,
                f"{statistics.median(floor):.3f} ({floor[0]:.3f}-{floor[-1]:.3f})",
            ]
        )
    tokens = [sum(batch["input_ids"].numel() for batch in batches) for batches in (held_out, calibration)]
    whole = loss_of(model, held_out)
    bench.emit(
        [
            bench.header("Shrinking without training: loss per token (nats)", ("hf_compress", "transformers")),
            f"{tokens[0]:,} tokens held out, {tokens[1]:,} for calibration; the whole model: {whole:.3f}.\n"
            f"Floor: median (smallest-largest) of {options.draws} draws; of layers all other choices of as many.",
            bench.table(["kept", "parameters", "batches", "taylor", "weights", "floor"], rows),
        ],
        options.out,
    )


if __name__ == "__main__":
    main()
