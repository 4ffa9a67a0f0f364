"""Small data for any task, made from what its columns say they hold."""

import random

import PIL.Image
from datasets import Audio, ClassLabel, Dataset, Features, Image, List, Value

from tests.small import WORDS
from tests.sounds import sine, wav

NAMES = ("I-warm", "O", "B-warm")
"""Labels, in an order of their own; tags of entities, because some tasks take no others."""

SOUND = {"bytes": Value("binary"), "path": Value("string")}
"""What `datasets.Audio` stores, and needs no encoder."""


def features_of(task):
    """The features of a task's columns, labels with `NAMES`."""
    return Features({column.name: _named(column.feature) for column in task.columns()})


def rows_of(task, num_rows=60, features=None):
    """Rows that the task reads; every label is in every fifth of them."""
    features = features_of(task) if features is None else features
    generator = random.Random(0)
    rows = []
    for index in range(num_rows):
        row = {}
        for name, feature in features.items():
            row[name] = _value(feature, index, generator, row)
        rows.append(row)
    return Dataset.from_list(rows, features=features)


def _named(feature):
    if isinstance(feature, tuple):
        return _named(feature[0])
    if isinstance(feature, ClassLabel):
        return ClassLabel(names=list(NAMES))
    if isinstance(feature, Audio):
        return dict(SOUND)
    if isinstance(feature, dict):
        return {key: _named(one) for key, one in feature.items()}
    return List(_named(feature.feature)) if isinstance(feature, List) else feature


def _value(feature, index, generator, row):
    if isinstance(feature, dict):
        if feature == SOUND:  # a tone for every label, longer and shorter
            return {"bytes": wav(sine(16000, 200.0 * (1 + index % 3), 0.1 + 0.02 * (index % 3)), 16000), "path": None}
        if set(feature) == {"text", "answer_start"}:  # an answer in the column before it
            word = next(reversed(row.values())).split()[index % 5]
            return {"text": [word], "answer_start": [next(reversed(row.values())).index(word)]}
        return {key: _value(one, index, generator, row) for key, one in feature.items()}
    if isinstance(feature, List) and feature.feature == {"role": Value("string"), "content": Value("string")}:
        roles = ("user", "assistant") * (1 + index % 2)
        return [{"role": role, "content": generator.choice(WORDS)} for role in roles]
    if isinstance(feature, List):  # as long as every other list of its row
        return [_value(feature.feature, index + place, generator, row) for place in range(3 + index % 4)]
    if isinstance(feature, ClassLabel):
        return index % feature.num_classes
    if isinstance(feature, Image):
        return PIL.Image.new("RGB", (8, 8), (4 * index % 256, 0, 0))
    if isinstance(feature, Value) and feature.dtype in ("float64", "int64"):
        return index
    assert isinstance(feature, Value) and feature.dtype == "string", f"tests/rows.py makes no {feature}"
    return " ".join(generator.choices(WORDS, k=30))
