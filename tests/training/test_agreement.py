"""Whether processes can train together; what two of them say to each other is in tests/distributed."""

import pytest

from hf_compress._errors import CompressionError
from hf_compress.training.agreement import check_fed
from tests.training.runs import llama_trainer, text_rows


def test_more_processes_than_rows_are_refused():
    with pytest.raises(CompressionError, match="3 rows for 4 processes, .* start fewer processes"):
        check_fed(3, 4)
    for num_rows, processes in ((4, 4), (None, 4), (1, 1)):
        check_fed(num_rows, processes)


def test_a_training_asks_for_its_rows(tmp_path, monkeypatch):
    trainer = llama_trainer(tmp_path, {}, max_steps=1)
    trainer.train_dataset = text_rows(3)
    monkeypatch.setattr(type(trainer.args), "world_size", 4)
    with pytest.raises(CompressionError, match="3 rows for 4 processes"):
        trainer.train()
