"""How often bootstrap intervals hold the truth, on synthetic pairs of models.

For each metric a population of rows is made on which two models err together and apart; its own numbers are the truth. A
data set is drawn from it, and `Bootstrap` says an interval for each model and for the difference: over many data sets, the
share that holds the truth should be the level. Two standard deviations of that share say how exactly it is known.

python scripts/bootstrap_coverage.py --datasets 1000 --out docs/benchmarks/bootstrap_coverage-DATE.md
"""

import argparse
import datetime
import importlib.metadata
from collections.abc import Callable
from pathlib import Path

import numpy
from numpy import ndarray

from hf_compress import Accuracy, Bleu, MacroF1, MatthewsCorrelation, PearsonR, WordErrorRate
from hf_compress._provenance import processor
from hf_compress.evaluation.bootstrap import Bootstrap, Summed, resample
from hf_compress.tasks.metrics.metric import Metric
from hf_compress.tasks.metrics.sums import share

POPULATION = 50_000
TEXTS = 4_000
"""Rows of the population, of texts fewer because every row's n-grams are counted."""
OfSums = Callable[[ndarray], dict[str, ndarray]]
Population = tuple[ndarray, ndarray, OfSums]
WORDS = [f"word{number}" for number in range(60)]


def of_metric(metric: Metric, truth: object, baseline: object, model: object) -> Population:
    """Statistics of both models' answers."""
    pair = [metric.statistics(given, truth) for given in (baseline, model)]  # type: ignore[arg-type]
    return pair[0], pair[1], metric.of_sums


def classes(generator: numpy.random.Generator, count: int) -> tuple[ndarray, ndarray, ndarray]:
    """The right classes, rare ones too, and two models' that are mostly wrong on the same rows."""
    shares = numpy.arange(1, count + 1) / numpy.arange(1, count + 1).sum()
    truth = generator.choice(count, p=shares, size=POPULATION)
    hard = generator.random(POPULATION)
    answers = []
    for skill in (0.75, 0.70):
        wrong = 0.7 * hard + 0.3 * generator.random(POPULATION) > skill
        answers.append(numpy.where(wrong, generator.integers(count, size=POPULATION), truth))
    return truth, answers[0], answers[1]


def numbers(generator: numpy.random.Generator) -> tuple[ndarray, ndarray, ndarray]:
    """Numbers, and two noisy readings."""
    truth, shared = generator.normal(size=(2, POPULATION))
    return truth, truth + 0.5 * shared + 0.3 * generator.normal(size=POPULATION), truth + 0.7 * shared


def losses(generator: numpy.random.Generator) -> Population:
    """Sums of token losses and tokens of every example."""
    tokens = generator.integers(20, 200, size=POPULATION)
    hard = generator.gamma(8.0, 1 / 8, size=POPULATION)
    pair = [
        numpy.stack([tokens * rate * hard * generator.gamma(50.0, 1 / 50, size=POPULATION), tokens], axis=1)
        for rate in (2.0, 2.1)
    ]
    return pair[0], pair[1], lambda sums: {"perplexity": numpy.exp(share(sums[:, 0], sums[:, 1]))}


def texts(generator: numpy.random.Generator) -> tuple[list[str], list[str], list[str]]:
    """Sentences, and two models' in which words are exchanged or left out, mostly of the same sentences."""
    right, answers = [], ([], [])
    for _ in range(TEXTS):
        words = generator.choice(WORDS, size=generator.integers(6, 20)).tolist()
        right.append(" ".join(words))
        noise = generator.random() * 0.5
        for answer, more in zip(answers, (0.0, 0.05), strict=True):
            kept = [word if generator.random() > noise + more else str(generator.choice(WORDS)) for word in words]
            answer.append(" ".join(kept[: len(kept) - int(generator.random() < 0.3)]))
    return right, *answers


def populations(seed: int) -> dict[str, tuple[int, Population]]:
    """Metric -> rows of a data set, and the population."""
    generator = numpy.random.default_rng(seed)
    five, two, written = classes(generator, 5), classes(generator, 2), texts(generator)
    return {
        "accuracy": (200, of_metric(Accuracy(), *five)),
        "macro_f1": (300, of_metric(MacroF1(), *five)),
        "matthews_correlation": (300, of_metric(MatthewsCorrelation(), *two)),
        "pearsonr": (200, of_metric(PearsonR(), *numbers(generator))),
        "perplexity": (200, losses(generator)),
        "wer": (200, of_metric(WordErrorRate(), *written)),
        "bleu": (200, of_metric(Bleu(), *written)),
    }


def held(name: str, rows: int, population: Population, options: argparse.Namespace) -> list[float]:
    """The shares of intervals that hold the truth: baseline, model, difference."""
    *pair, of_sums = population
    one, other = (float(of_sums(part.sum(0, keepdims=True))[name][0]) for part in pair)
    truth = (one, other, other - one)
    generator, hits = numpy.random.default_rng(options.seed + 1), numpy.zeros(3)
    for dataset in range(options.datasets):
        drawn = generator.integers(len(pair[0]), size=rows)
        bootstrap = Bootstrap(resamples=options.resamples, level=options.level, seed=dataset)
        found = resample([Summed(part[drawn], of_sums) for part in pair], bootstrap)
        of_models = [each[name] for each in found]
        for place, values in enumerate((*of_models, of_models[1] - of_models[0])):
            low, high = bootstrap.interval(values)
            hits[place] += low <= truth[place] <= high
    return (hits / options.datasets).tolist()


def main() -> None:
    """The table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", type=int, default=1000, help="drawn from each population")
    parser.add_argument("--resamples", type=int, default=1000, help="of every data set")
    parser.add_argument("--level", type=float, default=0.95, help="of the intervals")
    parser.add_argument("--seed", type=int, default=0, help="of the populations and the data sets")
    parser.add_argument("--out", type=Path, default=None, help="also write the text to this file")
    options = parser.parse_args()
    spread = 2 * (options.level * (1 - options.level) / options.datasets) ** 0.5
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("numpy", "sacrebleu", "jiwer"))
    lines = [
        "# How often bootstrap intervals hold the truth",
        "",
        f"{options.datasets:,} synthetic data sets for each metric, {options.resamples:,} resamples each, percentile"
        f" intervals at {options.level:.0%};",
        f"by chance alone a share is within {options.level:.3f} +- {spread:.3f}, two standard deviations.",
        f"{processor()}, {versions}; {datetime.datetime.now(datetime.UTC).date()}; seed {options.seed}.",
        f"Command: `python scripts/bootstrap_coverage.py --datasets {options.datasets} --resamples {options.resamples}`",
        "",
        "| metric | rows | baseline | model | difference |",
        "|---|--:|--:|--:|--:|",
    ]
    for name, (rows, population) in populations(options.seed).items():
        shares = held(name, rows, population, options)
        lines.append(f"| {name} | {rows} | " + " | ".join(f"{one:.3f}" for one in shares) + " |")
        print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    print(text)
    if options.out is not None:
        options.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
