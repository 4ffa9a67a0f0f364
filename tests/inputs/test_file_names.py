"""Names of files in a table are those files, wherever the run is started."""

import PIL.Image
import pytest
from datasets import ClassLabel, Dataset, Features, Value

from hf_compress import CompressionError
from hf_compress.inputs.data import load_splits
from hf_compress.inputs.file_names import with_files
from hf_compress.inputs.sections import Data
from hf_compress.inputs.sources import open_source
from hf_compress.inputs.streams import training_stream
from hf_compress.tasks.builtin.audio_classification import AudioClassification
from hf_compress.tasks.builtin.image_classification import ImageClassification
from tests.sounds import sine, wav


def table(folder, endings=("png",), names=None):
    """A csv file with names of files beside it; the n-th image is n red."""
    (folder / "files").mkdir(parents=True)
    names = [f"files/{n}.{endings[0]}" for n in range(12)] if names is None else names
    for number in range(12):
        file = folder / f"files/{number}.{endings[0]}"
        if endings[0] == "png":
            PIL.Image.new("RGB", (4, 4), (number, 0, 0)).save(file)
        else:
            file.write_bytes(wav(sine(8000, 300.0, 0.1 + number / 100), 8000))
    rows = "".join(f"{name},{'ab'[number % 2]}\n" for number, name in enumerate(names))
    (folder / "data.csv").write_text(f"{'image' if endings[0] == 'png' else 'audio'},label\n" + rows)
    return Data(path=str(folder / "data.csv"), validation_share=0.2)


def opened(data, task):
    return {name: with_files(split, task.columns(), data) for name, split in load_splits(data, 0).items()}


def test_images_named_in_a_csv_file_are_read_from_beside_it(tmp_path, monkeypatch):
    data, task = table(tmp_path / "here"), ImageClassification()
    monkeypatch.chdir(tmp_path)
    splits = opened(data, task)
    task.check_data(splits, data)
    red = sorted(image.getpixel((0, 0))[0] for split in splits.values() for image in split["image"])
    assert red == list(range(12))


def test_a_name_without_a_file_is_refused_by_its_row(tmp_path):
    names = [f"files/{n}.png" for n in range(12)]
    names[7] = "files/gone.png"
    data, task = table(tmp_path, names=names), ImageClassification()
    with pytest.raises(CompressionError, match=r"^task.image: row 7 .* \(files/gone.png\) cannot be decoded: .*No such"):
        task.check_data(opened(data, task), data)
    PIL.Image.new("RGB", (4, 4)).save(tmp_path / "files/gone.png")  # mended, and nothing remembers that it was not there
    task.check_data(opened(data, task), data)


def test_sounds_named_in_a_csv_file_too_and_names_from_where_one_stands_stay(tmp_path, monkeypatch):
    data, task = table(tmp_path / "here", ("wav",)), AudioClassification()
    splits = opened(data, task)
    task.check_data(splits, data)
    assert sorted(one.num_samples for split in splits.values() for one in task.headers(split)) == [
        800 + 80 * n for n in range(12)
    ]
    monkeypatch.chdir(tmp_path)
    other = table(tmp_path / "there", ("wav",), names=[f"here/files/{n}.wav" for n in range(12)])
    task.check_data(opened(other, task), other)


def test_bytes_are_images_and_text_is_none(tmp_path):
    content = (table(tmp_path / "a") and tmp_path / "a/files/3.png").read_bytes()
    features = Features({"image": Value("binary"), "label": ClassLabel(names=["a", "b"])})
    Dataset.from_dict({"image": [content] * 9, "label": [0, 1, 0] * 3}, features=features).to_parquet(
        tmp_path / "b.parquet"
    )
    data, task = Data(path=str(tmp_path / "b.parquet")), ImageClassification()
    splits = opened(data, task)
    task.check_data(splits, data)
    assert splits["train"][0]["image"].getpixel((0, 0)) == (3, 0, 0)
    with pytest.raises(CompressionError, match="task.image: column 'label' .* not images"):
        ImageClassification(image="label", label="image").check_data(splits, data)


def test_a_stream_of_names_is_a_stream_of_files_and_is_looked_at_behind_its_beginning(tmp_path):
    names = [f"files/{n % 12}.png" for n in range(3500)]
    names[3400] = "files/gone.png"
    data, task = table(tmp_path, names=names), ImageClassification()
    data = Data(path=data.path, streaming=True, max_eval=2)
    head = opened(data, task)
    task.check_data(head, data)
    stream = training_stream(
        data,
        open_source(data),
        0,
        head["train"].features,
        prepare=lambda rows: with_files(rows, task.columns(), data),
        check=lambda rows: task.check_data({"train": rows}, data),
    )
    assert next(iter(stream))["image"]["path"].startswith(str(tmp_path / "files"))
    with pytest.raises(CompressionError, match=r"^task.image: row 3400 \(counted from 0\) of .* \(files/gone.png\) cannot"):
        list(stream)
