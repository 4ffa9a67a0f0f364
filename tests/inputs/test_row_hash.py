"""Rows by their hash, against one made by hand."""

import hashlib
import io

from datasets import Audio, Dataset, Features, Image, Value
from PIL import Image as Picture

from hf_compress.inputs.columns import Column
from hf_compress.inputs.row_hash import row_hash

ROWS = {"text": ["grüße", "b"], "label": [1, None], "other": [0.5, 1.5]}
TEXT, LABEL, GONE = (Column(key=name, name=name, feature=Value("string")) for name in ("text", "label", "gone"))


def test_the_hash_is_that_of_the_lines_of_json():
    lines = '{"label":1,"text":"grüße"}\n{"label":null,"text":"b"}\n'
    expected = hashlib.sha256(lines.encode()).hexdigest()
    assert row_hash(Dataset.from_dict(ROWS), [TEXT, LABEL]) == expected
    assert row_hash(Dataset.from_dict(ROWS), [LABEL, TEXT, GONE]) == expected


def test_another_cell_order_or_number_of_rows_is_another_hash():
    known = Dataset.from_dict(ROWS)
    others = [known.select([1, 0]), known.select([0]), Dataset.from_dict({**ROWS, "text": ["grüße", "c"]})]
    hashes = {row_hash(rows, [TEXT, LABEL]) for rows in [known, *others]}
    assert len(hashes) == 4
    assert row_hash(Dataset.from_dict({**ROWS, "other": [0, 0]}), [TEXT]) == row_hash(known, [TEXT])


def test_a_picture_is_its_file_wherever_that_lies(tmp_path):
    stream = io.BytesIO()
    Picture.new("RGB", (2, 2), (9, 0, 0)).save(stream, "png")
    (tmp_path / "a.png").write_bytes(stream.getvalue())
    features = Features({"image": Image()})
    inside = Dataset.from_dict({"image": [{"bytes": stream.getvalue(), "path": None}]}, features=features)
    outside = Dataset.from_dict({"image": [{"bytes": None, "path": str(tmp_path / "a.png")}]}, features=features)
    image, sound = Column(key="image", name="image", feature=Image()), Column(key="a", name="image", feature=Audio())
    named = Dataset.from_dict({"image": [str(tmp_path / "a.png")]})
    assert row_hash(inside, [image]) == row_hash(outside, [image]) == row_hash(named, [sound])
    by_hand = f'{{"image":"{hashlib.sha256(stream.getvalue()).hexdigest()}"}}\n'
    assert row_hash(inside, [image]) == hashlib.sha256(by_hand.encode()).hexdigest()
