"""A small recipe, its data and its models, and ways to change one value."""

import copy
import json
import random

import PIL.Image
from datasets import ClassLabel, Dataset, Features, Image
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tests.tiny import tiny_llama, tiny_tokenizer

DROP = object()
"""As a value in `changes`: the key goes."""

WORDS = [
    "the",
    "cat",
    "dog",
    "sat",
    "on",
    "mat",
    "and",
    "ran",
    "far",
    "away",
    "from",
    "home",
    "to",
    "see",
    "one",
    "big",
    "red",
    "tree",
]

LLAMA = {
    "model_type": "llama",
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
}


VIT_RECIPE = {
    "task": "image_classification",
    "tokenizer": DROP,
    "model": {
        "config": {
            "model_type": "vit",
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_hidden_layers": 1,
            "num_attention_heads": 4,
            "image_size": 8,
            "patch_size": 4,
        }
    },
}
"""Changes that make it a recipe for images."""


def text_rows(num_rows=60):
    """Rows with text, a number from 0 and a named label."""
    generator = random.Random(0)
    return [
        {"text": " ".join(generator.choices(WORDS, k=40)), "label": index % 2, "name": ("cold", "warm")[index % 2]}
        for index in range(num_rows)
    ]


def rows_of_fewer_words():
    """The same without the words home and tree."""
    return [{**row, "text": row["text"].replace("home", "cat").replace("tree", "dog")} for row in text_rows()]


def write_jsonl(file, rows):
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def write_images(file, num_rows=12):
    """Squares, dark ones first."""
    pictures = [PIL.Image.new("RGB", (8, 8), (240 * n // num_rows, 0, 0)) for n in range(num_rows)]
    features = Features({"image": Image(), "label": ClassLabel(names=["dark", "light"])})
    Dataset.from_dict(
        {"image": pictures, "label": [n // (num_rows // 2) for n in range(num_rows)]}, features=features
    ).to_parquet(file)
    return file


def write_model(folder, model=None, tokenizer=True):
    """A checkpoint as save_pretrained leaves it."""
    (tiny_llama() if model is None else model).save_pretrained(folder)
    if tokenizer:
        tiny_tokenizer().save_pretrained(folder)
    return folder


def write_wordy_model(folder):
    """A small model whose byte-level tokenizer has a piece for every one of `WORDS`, so that rows of some leave others."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    backend.decoder = decoders.ByteLevel()
    letters = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=["<pad>", "<s>", "</s>"], initial_alphabet=letters)
    backend.train_from_iterator([" ".join(WORDS)] * 3, trainer)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", bos_token="<s>", eos_token="</s>")
    tiny_llama(vocab_size=len(tokenizer)).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def recipe(folder, changes=None):
    """A train recipe on `folder`/train.jsonl as plain data; `changes` are {"a.b": value}, deeper ones are made."""
    data = {
        "job": "train",
        "model": {"config": dict(LLAMA)},
        "tokenizer": {"vocab_size": 300},
        "task": {"name": "causal_lm", "length": 16},
        "data": {"path": str(folder / "train.jsonl")},
        "dense": {"training": {"max_steps": 2}},
        "pruning": {"schedule": {"name": "cubic", "final": 0.5, "begin": "0%", "end": "50%", "every": 1}},
        "quantization": {"scheme": {"name": "W4A16", "group_size": 32}, "begin": "50%"},
        "distillation": {},
        "evaluation": {"examples": 0},
        "training": {
            "output_dir": str(folder / "out"),
            "max_steps": 4,
            "per_device_train_batch_size": 4,
            "use_cpu": True,
        },
    }
    for path, value in (changes or {}).items():
        *parents, last = path.split(".")
        place = data
        for part in parents:
            if isinstance(place.get(part), str):  # a strategy's bare name
                place[part] = {"name": place[part]}
            place = place.setdefault(part, {})
        if value is DROP:
            del place[last]
        else:
            place[last] = copy.deepcopy(value)
    return data


def pretrained(model, changes=None):
    """Changes that replace the fresh model by a checkpoint, without a dense stage."""
    return {"model": str(model), "tokenizer": DROP, "dense": DROP, **(changes or {})}
