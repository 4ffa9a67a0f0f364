"""Images with a label each."""

import pytest

from hf_compress._errors import CompressionError
from hf_compress.inputs.data import load_splits
from hf_compress.inputs.processors import load_image_processor
from hf_compress.inputs.sections import Data, FreshModel
from hf_compress.tasks.builtin.image_classification import ImageClassification
from tests.small import write_images
from tests.tiny import tiny_vit


def test_images_are_read_when_a_batch_is(tmp_path):
    data = Data(path=str(write_images(tmp_path / "data.parquet")))
    processor = load_image_processor(FreshModel(config={"model_type": "vit"}), tiny_vit().config)
    task = ImageClassification()
    examples = task.examples(load_splits(data, 0), processor, ["dark", "light"])
    batch = task.collator(processor)([examples["train"][index] for index in range(3)])
    assert batch["pixel_values"].shape == (3, 3, 8, 8) and set(batch["labels"].tolist()) <= {0, 1}
    assert task.describe(load_splits(data, 0), processor) == {"images": "8x8 pixels, as in the data"}


def test_what_would_take_the_images_away_is_refused():
    task = ImageClassification()
    assert task.refused_training({"remove_unused_columns": False, "metric_for_best_model": "eval_accuracy"}) == {}
    refused = task.refused_training({"remove_unused_columns": True, "metric_for_best_model": "f1"})
    assert set(refused) == {"remove_unused_columns", "metric_for_best_model"}


def test_models_for_other_than_three_channels_are_refused():
    config = tiny_vit().config
    ImageClassification().check_config(config, None)
    config.num_channels = 1
    with pytest.raises(CompressionError, match="num_channels=1, and images are read as RGB"):
        ImageClassification().check_config(config, None)


def test_a_machine_without_pillow_is_told_what_to_install(tmp_path, monkeypatch):
    data = Data(path=str(write_images(tmp_path / "data.parquet")))
    splits = load_splits(data, 0)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CompressionError, match=r"task: image_classification reads images with Pillow; install hf-compress"):
        ImageClassification().check_data(splits, data)
