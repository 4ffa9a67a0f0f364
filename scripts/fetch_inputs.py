r"""Downloads what the recipes in recipes/ need into data/.

    python scripts/fetch_inputs.py sst2 cifar10 banking77 tinystories_mini wnut17 wnut17_questions gsm8k multi30k scitldr \
        fsdd stories260K

Data sets become data/<name>/{train,validation,test}.parquet, models data/models/<name>. Who owns them, under which licence,
stands where they come from; none is part of this project. The rows are those of today's public copies, so numbers differ a
little from the claims in the recipes, which say what they were measured on.
"""

import argparse
from collections.abc import Callable, Iterator
from itertools import accumulate
from pathlib import Path

SST2 = "https://raw.githubusercontent.com/clairett/pytorch-sentiment-classification/master/data/SST2/{}.tsv"
WNUT17 = "hf://datasets/leondz/wnut_17@refs/convert/parquet/wnut_17/{}/0000.parquet"
SCITLDR = "hf://datasets/allenai/scitldr@refs/convert/parquet/Abstract/{}/0000.parquet"
BANKING77 = "https://raw.githubusercontent.com/PolyAI-LDN/task-specific-datasets/master/banking_data/{}.csv"


def _sst2(load):
    files = {split: SST2.format(name) for split, name in (("train", "train"), ("validation", "dev"), ("test", "test"))}
    return load("csv", data_files=files, sep="\t", quoting=3, column_names=["text", "label"])


def _cifar10(load):
    return load("uoft-cs/cifar10").rename_column("img", "image")


def _banking77(load):
    raw = load("csv", data_files={split: BANKING77.format(split) for split in ("train", "test")})
    raw = raw.class_encode_column("category").rename_column("category", "label")
    parts = raw["train"].train_test_split(test_size=0.1, seed=0)
    return {"train": parts["train"], "validation": parts["test"], "test": raw["test"]}


def _wnut17(load):
    return load("parquet", data_files={split: WNUT17.format(split) for split in ("train", "validation", "test")})


def _wnut17_questions(load):
    """A question for every kind of name in a text: "Which person is named?", answered by each place where one stands."""
    from datasets import Dataset

    splits = {}
    for split, rows in _wnut17(load).items():
        classes = rows.features["ner_tags"].feature.names
        questions = (one for row in rows for one in _questions(row["tokens"], [classes[tag] for tag in row["ner_tags"]]))
        splits[split] = Dataset.from_list(list(questions))
    return splits


def _questions(words: list[str], tags: list[str]) -> Iterator[dict]:
    context = " ".join(words)
    starts = list(accumulate((len(word) + 1 for word in words), initial=0))
    spans: dict[str, list[tuple[int, int]]] = {}
    before = ""
    for start, word, tag in zip(starts, words, tags, strict=False):
        begins, _, kind = tag.partition("-")
        # As seqeval reads tags: an I- behind another kind begins a name as well.
        if begins == "B" or (begins == "I" and kind != before):
            spans.setdefault(kind, []).append((start, start + len(word)))
        elif begins == "I":
            spans[kind][-1] = (spans[kind][-1][0], start + len(word))
        before = kind
    for kind, found in spans.items():
        answers = {"text": [context[start:end] for start, end in found], "answer_start": [start for start, _ in found]}
        yield {"question": f"Which {kind.replace('-', ' ')} is named?", "context": context, "answers": answers}


def _gsm8k(load):
    return load("openai/gsm8k", "main")


def _tinystories_mini(load):
    return {"train": load("roneneldan/TinyStories", split="validation[:160]")}


def _multi30k(load):
    return load("bentrevett/multi30k")


def _scitldr(load):
    raw = load("parquet", data_files={split: SCITLDR.format(split) for split in ("train", "validation", "test")})
    return {
        split: rows.map(lambda row: {"source": " ".join(row["source"]), "all_targets": row["target"]}).remove_columns(
            "target"
        )
        for split, rows in raw.items()
    }


def _fsdd(load):
    words = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    raw = load("mteb/free-spoken-digit-dataset")
    return {split: rows.add_column("transcript", [words[digit] for digit in rows["label"]]) for split, rows in raw.items()}


DATA: dict[str, Callable] = {
    "sst2": _sst2,
    "cifar10": _cifar10,
    "banking77": _banking77,
    "tinystories_mini": _tinystories_mini,
    "wnut17": _wnut17,
    "wnut17_questions": _wnut17_questions,
    "gsm8k": _gsm8k,
    "multi30k": _multi30k,
    "scitldr": _scitldr,
    "fsdd": _fsdd,
}


def fetch_data(name: str, root: Path, load: Callable | None = None) -> Path:
    """One data set as parquet files.

    Args:
        name: of `DATA`.
        root: gets a folder of that name.
        load: `datasets.load_dataset`.
    """
    if load is None:
        from datasets import load_dataset as load
    folder = root / name
    splits = DATA[name](load)
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in splits.items():
        rows.to_parquet(str(folder / f"{split}.parquet"))
    return folder


def fetch_stories260k(root: Path) -> Path:
    """The Llama of 260k parameters of karpathy/tinyllamas, from its GGUF file (pip install gguf sentencepiece)."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    folder = root / "models" / "stories260K"
    for cls in (AutoModelForCausalLM, AutoTokenizer):
        loaded = cls.from_pretrained("ggml-org/models", gguf_file="tinyllamas/stories260K.gguf", trust_remote_code=False)
        loaded.save_pretrained(folder)
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=[*DATA, "stories260K"], metavar="NAME")
    parser.add_argument("--out", type=Path, default=Path("data"))
    options = parser.parse_args()
    for name in options.names:
        folder = fetch_stories260k(options.out) if name == "stories260K" else fetch_data(name, options.out)
        print(f"{name}: {folder}")


if __name__ == "__main__":
    main()
