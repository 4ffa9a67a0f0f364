"""A row in a refusal is the row in the user's file, whatever is shuffled, cut off and left out on the way."""

import json
import re

import PIL.Image
import pytest
from transformers import ViTImageProcessor

from hf_compress._errors import CompressionError
from hf_compress.inputs.data import load_splits
from hf_compress.inputs.row_numbers import NUMBER, NamingRows
from hf_compress.inputs.sections import Data
from hf_compress.inputs.sources import open_source
from hf_compress.inputs.streams import mapped, training_stream
from hf_compress.inputs.wrong_rows import empty_rows, refuse_rows
from hf_compress.tasks.builtin.causal_lm import CausalLM
from hf_compress.tasks.builtin.image_classification import ImageClassification
from hf_compress.tasks.opened import open_data
from tests.small import write_jsonl


def lines(count, wrong=(), bad=" "):
    return [{"text": bad if number in wrong else f"text {number}"} for number in range(count)]


def refusal(data, seed=0):
    with pytest.raises(CompressionError) as error:
        refuse_rows(load_splits(data, seed), "task.text", lambda split: empty_rows(split["text"], "text"))
    return str(error.value)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("ending", ["jsonl", "csv"])
def test_the_one_bad_row_of_a_file_is_named_as_it_stands_there(seed, ending, tmp_path):
    file = tmp_path / f"data.{ending}"
    if ending == "csv":
        file.write_text("text\n" + "".join(f'"{row["text"]}"\n' for row in lines(40, [23])))
    else:
        write_jsonl(file, lines(40, [23]))
    expected = f"task.text: row 23 (counted from 0) of {file} has an empty text; remove it"
    assert refusal(Data(path=str(file), validation_share=0.2), seed) == expected


@pytest.mark.parametrize("seed", range(4))
def test_of_several_the_first_in_the_file_is_named_whichever_split_it_fell_into(seed, tmp_path):
    file = write_jsonl(tmp_path / "data.jsonl", lines(40, [31, 7, 11]))
    said = refusal(Data(path=str(file), validation_share=0.3), seed)
    assert said == f"task.text: row 7 (counted from 0) of {file} has an empty text (and 2 more such rows); remove it"


def test_rows_that_a_limit_leaves_out_change_no_number_and_are_not_looked_at(tmp_path):
    file = write_jsonl(tmp_path / "data.jsonl", lines(60, range(0, 60, 2)))
    texts = [json.loads(line)["text"] for line in file.read_text().splitlines()]
    for seed in range(4):
        data = Data(path=str(file), max_train=9, max_eval=4)
        kept = load_splits(data, seed)
        number = int(re.search(r"row (\d+) ", refusal(data, seed))[1])
        mine = {number for split in kept.values() for number in split[NUMBER]}
        assert texts[number] == " " and number == min(one for one in mine if texts[one] == " ")
        for split in kept.values():
            assert [texts[one] for one in split[NUMBER]] == split["text"][:]


def test_splits_of_their_own_are_named(tmp_path):
    for name, wrong in (("train", [4]), ("dev", [2]), ("test", [])):
        write_jsonl(tmp_path / f"{name}.jsonl", lines(8, wrong))
    assert refusal(Data(path=str(tmp_path))).splitlines() == [
        f"task.text: row 4 (counted from 0) of the train split of {tmp_path} has an empty text; remove it",
        f"task.text: row 2 (counted from 0) of the validation split of {tmp_path} has an empty text; remove it",
    ]


@pytest.mark.parametrize("seed", range(4))
def test_empty_columns_are_counted_in_the_rows_that_are_used(seed, tmp_path):
    file = write_jsonl(tmp_path / "data.jsonl", lines(40, [13, 29], bad=None))
    data = Data(path=str(file), validation_share=0.3)
    with pytest.raises(CompressionError) as error:
        CausalLM().check_data(load_splits(data, seed), data)
    said = f"task.text: row 13 (counted from 0) of {file} is empty (null) in the column 'text' (and 1 more such row)"
    assert str(error.value) == f"{said}; remove it"


def no_w(batch):
    if any("w" in text for text in batch["text"]):
        raise CompressionError("task.text: it has a w")
    return {"length": [len(text) for text in batch["text"]]}


@pytest.mark.parametrize("seed", range(3))
def test_a_row_of_a_stream_is_named_by_its_place_in_it(seed, tmp_path):
    file = write_jsonl(tmp_path / "data.jsonl", lines(3000, [2345], bad="w"))
    data = Data(path=str(file), streaming=True, max_eval=7)
    stream = mapped(
        training_stream(data, open_source(data), seed, load_splits(data, seed)["train"].features), no_w, "train"
    )
    with pytest.raises(CompressionError) as error:
        list(stream)
    assert str(error.value) == f"task.text: row 2345 (counted from 0) of {file}: it has a w"


def test_a_stream_of_several_files_does_not_know_its_places(tmp_path):
    for part in range(2):
        write_jsonl(tmp_path / f"train-{part}.jsonl", lines(30, [11] if part else [], bad="w"))
    write_jsonl(tmp_path / "dev.jsonl", lines(2))
    write_jsonl(tmp_path / "test.jsonl", lines(2))
    data = Data(path=str(tmp_path), streaming=True)
    stream = mapped(training_stream(data, open_source(data), 0, load_splits(data, 0)["train"].features), no_w, "train")
    with pytest.raises(CompressionError, match=f"^task.text: a row of the train split of {tmp_path}: it has a w$"):
        list(stream)


def test_what_is_wrong_with_a_whole_batch_names_no_row():
    def two(batch, numbers, most):
        if len(numbers) > most:
            raise CompressionError("too many")
        return batch

    naming = NamingRows(two, "x")
    assert naming({"a": [1]}, [0], most=1) == {"a": [1]}
    with pytest.raises(CompressionError, match="^too many$"):
        naming({"a": [1, 2]}, [0, 1], most=1)


def test_an_image_that_breaks_off_behind_its_header_is_named_by_its_row_when_it_is_read(tmp_path):
    for number in range(20):
        PIL.Image.effect_noise((64, 64), 50).save(tmp_path / f"{number}.png")
    (tmp_path / "13.png").write_bytes((tmp_path / "13.png").read_bytes()[:600])
    names = [{"image": f"{number}.png", "label": number % 2} for number in range(20)]
    data = Data(path=str(write_jsonl(tmp_path / "data.jsonl", names)), validation_share=0.3)
    task = ImageClassification()
    splits, labels = open_data(data, task, 0)
    examples = task.examples(splits, ViTImageProcessor(size={"height": 8, "width": 8}), labels)
    with pytest.raises(CompressionError, match=rf"^row 13 \(counted from 0\) of {data.path}: an image \(.*13.png\) cannot"):
        [split[:] for split in examples.values()]
