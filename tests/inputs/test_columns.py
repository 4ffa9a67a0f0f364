"""A column is there, and holds what the task reads."""

import pytest
from datasets import Audio, ClassLabel, Dataset, Features, Image, List, Value

from hf_compress._errors import CompressionError
from hf_compress.inputs.columns import Column

TEXT, LABEL = Value("string"), ClassLabel(names=["a", "b"])
HOLDS = [
    (TEXT, Value("string"), True),
    (TEXT, Value("large_string"), True),
    (TEXT, Value("int64"), False),
    (TEXT, List(Value("string")), False),
    (LABEL, ClassLabel(names=["x"]), True),
    (LABEL, Value("int64"), True),  # which numbers do is for those who read them
    (LABEL, Value("string"), True),
    (LABEL, List(Value("int64")), False),
    (Image(), Image(), True),
    (Image(), Value("string"), False),
    (List(TEXT), List(Value("string")), True),
    (List(TEXT), List(Value("float32")), False),
    (List(TEXT), Value("string"), False),
    (List(LABEL), List(Value("int64")), True),
    (Value("int64"), Value("int32"), True),
    (Value("int64"), Value("float32"), False),
    ({"text": List(TEXT)}, {"text": List(TEXT), "other": TEXT}, True),
    ({"text": List(TEXT)}, {"text": TEXT}, False),
    ({"text": TEXT}, {"other": TEXT}, False),
    (List({"role": TEXT}), List({"role": TEXT, "content": TEXT}), True),
    (List({"role": TEXT}), {"role": List(TEXT)}, False),
    (Audio(), Audio(decode=False), True),
    (Audio(), TEXT, True),
    (Audio(), {"bytes": Value("binary"), "path": TEXT}, True),
    (Audio(), {"array": List(Value("float32")), "sampling_rate": Value("int64")}, True),
    (Audio(), List(Value("float32")), False),
]


@pytest.mark.parametrize(("wanted", "given", "right"), HOLDS)
def test_what_a_column_may_hold(wanted, given, right):
    split = Dataset.from_dict({"x": []}, features=Features({"x": given}))
    column = Column(key="text", name="x", feature=wanted)
    if right:
        column.check({"train": split}, "here")
    else:
        with pytest.raises(CompressionError, match=r"^task\.text: column 'x' of the train split of here holds "):
            column.check({"train": split}, "here")


def test_a_missing_column_is_named_with_those_there_are_and_empty_rows_are_counted():
    split = Dataset.from_dict({"text": ["a", None], "label": [0, 1]})
    with pytest.raises(
        CompressionError, match=r"task\.label: unknown column of the test split of here 'txt'; did you mean"
    ):
        Column(key="label", name="txt", feature=LABEL).check({"test": split}, "here")
    with pytest.raises(CompressionError, match=r"task\.text: row 1 .* of the test split is empty \(null\) in the column"):
        Column(key="text", name="text", feature=TEXT).check({"test": split}, "here")
