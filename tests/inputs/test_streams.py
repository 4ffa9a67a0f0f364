"""What is read of a stream before training, and the order in which it comes."""

import pytest
from datasets import Dataset, Image
from torch.utils.data import DataLoader

from hf_compress._errors import CompressionError
from hf_compress.inputs.sections import Data
from hf_compress.inputs.sources import open_source
from hf_compress.inputs.streams import HEAD, describe_stream, mapped, read_heads, reading_late, training_stream
from tests.small import write_images, write_jsonl


def opened(folder, counts, **options):
    """Rows that are numbers, counted on over the splits."""
    data = Data(path=str(folder), streaming=True, **options)
    first = 0
    for name, count in counts.items():
        write_jsonl(folder / f"{name}.jsonl", [{"n": number} for number in range(first, first + count)])
        first += count
    return data, open_source(data)


def numbers(splits):
    return {name: list(split["n"]) for name, split in splits.items()}


def test_splits_that_are_there_are_read_whole_or_drawn_and_the_others_are_the_beginning(tmp_path):
    data, sources = opened(tmp_path, {"train": 9, "test": 4}, max_eval=2)
    heads = numbers(read_heads(data, sources, seed=0))
    assert heads["validation"] == [0, 1] and heads["train"] == list(range(2, 9))
    assert len(heads["test"]) == 2 and set(heads["test"]) <= set(range(9, 13))
    whole = Data(path=data.path, streaming=True, splits={"validation": "test", "test": "train"}, max_eval=3)
    with pytest.raises(CompressionError, match="has no train split"):
        open_source(whole)


def test_the_stream_has_every_row_but_those_that_were_cut_off_once_in_an_order_of_the_seed(tmp_path):
    data, sources = opened(tmp_path, {"train": 50}, max_eval=5)
    heads = read_heads(data, sources, seed=0)
    first, again, other = (
        [row["n"] for row in training_stream(data, sources, seed, heads["train"].features)] for seed in (0, 0, 1)
    )
    assert sorted(first) == list(range(10, 50)) and first == again != other != sorted(first)
    assert numbers(heads) == {"train": list(range(10, 50)), "validation": list(range(5)), "test": list(range(5, 10))}


def test_max_train_bounds_the_stream_and_its_head(tmp_path):
    data, sources = opened(tmp_path, {"train": 50, "dev": 2, "test": 2}, max_train=7)
    heads = read_heads(data, sources, seed=0)
    assert len(heads["train"]) == 7
    assert sorted(row["n"] for row in training_stream(data, sources, 0, heads["train"].features)) == list(range(7))


def test_the_head_ends_and_the_log_says_how_much_was_checked(tmp_path):
    data, sources = opened(tmp_path, {"train": HEAD + 9, "dev": 1, "test": 1})
    head = read_heads(data, sources, seed=0)["train"]
    assert len(head) == HEAD and "the first 1,000 rows are checked" in describe_stream(head)["stream"]
    assert "all rows are checked" in describe_stream(head.select(range(9)))["stream"]


def test_a_file_that_breaks_off_behind_its_beginning_is_refused(tmp_path):
    data, _ = opened(tmp_path, {"train": 9, "dev": 1, "test": 1})
    (tmp_path / "train.jsonl").write_text('{"n": 1}\n{]')
    with pytest.raises(CompressionError, match=r"data.path: .* \(train\) cannot be read: "):
        read_heads(data, open_source(data), seed=0)


def test_images_are_files_in_the_head_and_keep_their_features(tmp_path):
    data = Data(path=str(write_images(tmp_path / "data.parquet", 12)), streaming=True, max_eval=3)
    heads = read_heads(data, open_source(data), seed=0)
    assert isinstance(heads["train"].features["image"], Image) and heads["train"].features["label"].names == [
        "dark",
        "light",
    ]
    assert heads["train"][0]["image"].size == (8, 8) and len(heads["train"]) == 6


def test_what_is_mapped_is_alike_for_rows_and_for_a_stream():
    rows = Dataset.from_dict({"n": [1, 2, 3]})

    def twice(batch):
        return {"m": [number for number in batch["n"] for _ in range(2)]}

    expected = [{"m": number} for number in (1, 1, 2, 2, 3, 3)]
    assert list(mapped(rows, twice, "train")) == list(mapped(rows.to_iterable_dataset(), twice, "train")) == expected


def test_a_file_that_breaks_off_behind_what_was_checked_is_one_sentence(tmp_path):
    data, _ = opened(tmp_path, {"train": 9, "dev": 1, "test": 1})
    big = "".join(f'{{"n": {number}, "text": "{"x" * 2000}"}}\n' for number in range(9000))
    for end in ("{]", '{"n": 1, "text": "a", "more": 2}\n'):
        (tmp_path / "train.jsonl").write_text(big + end)
        with (
            pytest.raises(CompressionError, match="^data.path: behind its first rows"),
            reading_late(data),
        ):
            list(open_source(data)["train"])


def test_what_a_worker_refuses_is_said_without_its_traceback():
    def refuse(batch):
        raise CompressionError("task.text: no")

    rows = Dataset.from_dict({"text": ["a"]}).with_transform(refuse)
    with pytest.raises(CompressionError, match="^task.text: no$"), reading_late(Data(path="x")):
        list(DataLoader(rows, num_workers=1))
    with pytest.raises(CompressionError, match="^task.text: no$"), reading_late(Data(path="x")):
        list(DataLoader(rows))
