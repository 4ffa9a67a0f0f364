"""What the published folder says about itself."""

import pytest

from hf_compress import CompressionError, Recipe
from hf_compress.evaluation.rows import Report, Row
from hf_compress.evaluation.write import write
from hf_compress.jobs.train.results import _base_model, read_report
from tests.small import pretrained, recipe

REPORT = Report(
    title="t",
    metric="perplexity",
    greater_is_better=False,
    setting={},
    rows=(Row(name="a", metrics={"perplexity": 2.0}, file_bytes=1),),
)


def test_a_base_model_is_never_mistaken_for_a_hub_id(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "someone" / "model").mkdir(parents=True)
    names = {"someone/model": "./someone/model", "someone/else": "someone/else", "./x": "./x"}
    for given, expected in names.items():
        assert _base_model(Recipe.from_plain(recipe(tmp_path, pretrained(given)))) == expected
    assert _base_model(Recipe.from_plain(recipe(tmp_path))) is None


def test_a_report_is_read_back_or_refused(tmp_path):
    write(REPORT, tmp_path)
    assert read_report(tmp_path) == REPORT
    (tmp_path / "report.json").unlink()
    with pytest.raises(CompressionError, match=r"report\.json cannot be read"):
        read_report(tmp_path)
