"""Sources by name: what the Hub gives is asked for once, as it is named, and by its own splits."""

import datasets
import pytest
from datasets import Dataset, DatasetDict, IterableDatasetDict

from hf_compress._errors import CompressionError
from hf_compress.inputs.sections import Data
from hf_compress.inputs.sources import is_local, open_source


@pytest.mark.parametrize("streaming", [False, True])
def test_a_hub_data_set_goes_by_its_own_splits_and_is_streamed_where_that_is_asked_for(streaming, monkeypatch):
    asked = []

    def load(path, name, streaming):
        asked.append((path, name, streaming))
        rows = {
            split: Dataset.from_dict({"n": [number]}) for number, split in enumerate(("train", "validation_matched", "dev"))
        }
        if streaming:
            return IterableDatasetDict({split: one.to_iterable_dataset() for split, one in rows.items()})
        return DatasetDict(rows)

    monkeypatch.setattr(datasets, "load_dataset", load)
    named = Data(path="org/name", name="plain", splits={"test": "validation_matched"}, streaming=streaming)
    assert {split: [row["n"] for row in rows] for split, rows in open_source(named).items()} == {
        "train": [0],
        "validation": [2],
        "test": [1],
    }
    with pytest.raises(CompressionError, match=r"no split 'val', .* \(known: train, validation_matched, dev\)"):
        open_source(Data(path="org/name", splits={"validation": "val"}, streaming=streaming))
    assert asked == [("org/name", "plain", streaming), ("org/name", None, streaming)]


def test_what_is_local_is_never_asked_of_the_hub(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "stanfordnlp" / "sst2").mkdir(parents=True)
    local = ["./x", "/x", "~/x", "x.jsonl", "stanfordnlp/sst2"]
    assert [is_local(path) for path in [*local, "nobody/nothing", "imdb"]] == [True] * 5 + [False] * 2
