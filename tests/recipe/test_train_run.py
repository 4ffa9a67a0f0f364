"""A run that is interrupted anywhere goes on and ends with the same bytes."""


import pytest

from hf_compress import CompressionError, Recipe
from hf_compress.recipe import results, train_run
from hf_compress.training.trainer import CompressionTrainer
from tests.recipe.small import recipe, text_rows, write_jsonl

LEFT = ["checkpoint-2", "checkpoint-4", "compressed", "dense", "recipe.yaml", "tokenizer"]


class Killed(BaseException):
    """What no `except Exception` catches."""


def load(folder):
    return Recipe.from_plain(recipe(folder, {"training.save_steps": 2}))


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The weights and rows of a run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("straight")
    write_jsonl(folder / "train.jsonl", text_rows())
    result = load(folder).run()
    assert sorted(path.name for path in (folder / "out").iterdir()) == LEFT
    return (result.folder / "model.safetensors").read_bytes(), [row.metrics for row in result.report.rows]


def kill(monkeypatch, place, name, calls=1):
    """The `calls`-th call of a function ends the process, as far as this process can tell."""
    original, left = getattr(place, name), [calls]

    def dying(*args, **kwargs):
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        return original(*args, **kwargs)

    monkeypatch.setattr(place, name, dying)


STAGES = {
    "before the tokenizer is saved": (train_run, "_save_tokenizer", 1),
    "in the dense training": (CompressionTrainer, "training_step", 2),
    "after the dense training": (train_run, "save_dense", 1),
    "before the compression": (train_run, "_compression_stage", 1),
    "in the compression": (CompressionTrainer, "training_step", 2 + 3),
    "after the compression": (CompressionTrainer, "finalize", 1),
    "while rows are measured": (results, "_untrained_row", 1),
    "while the result is written": (results, "write_manifest", 1),
    "after the report": (results, "render_card", 1),
}


@pytest.mark.parametrize("stage", STAGES)
def test_a_run_goes_on_after_an_interruption(stage, straight, tmp_path, monkeypatch):
    write_jsonl(tmp_path / "train.jsonl", text_rows())
    with monkeypatch.context() as patch:
        kill(patch, *STAGES[stage])
        with pytest.raises(Killed):
            load(tmp_path).run()
    out = tmp_path / "out"
    assert not (out / "compressed").exists()
    # What a kill leaves that an exception does not.
    for name in (".compressed.part", ".dense.part", ".tokenizer.part", ".rows"):
        (out / name).mkdir(exist_ok=True)
        (out / name / "half").write_text("written")
    with pytest.raises(CompressionError, match="was interrupted; add --resume"):
        load(tmp_path).run()
    result = load(tmp_path).run(resume=True)
    weights, metrics = straight
    assert (result.folder / "model.safetensors").read_bytes() == weights
    assert [row.metrics for row in result.report.rows] == metrics
    assert not (result.folder / "half").exists()


@pytest.fixture
def finished(straight, tmp_path, monkeypatch):
    """A finished run's folder, without having trained."""
    write_jsonl(tmp_path / "train.jsonl", text_rows())
    loaded = load(tmp_path)
    out = tmp_path / "out"
    out.mkdir()
    (out / "recipe.yaml").write_text(loaded.to_yaml())
    (out / "compressed").mkdir()
    return loaded, out
