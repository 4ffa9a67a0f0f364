"""Every metric over two processes and a padded last batch, under each way in which a Trainer gives predictions."""

import json

import pytest

from tests.distributed.launch import forked
from tests.distributed.metrics_rows import ROWS, metrics_of, rows_of


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    folder = tmp_path_factory.mktemp("metrics")
    forked("tests/distributed/metrics_worker.py", str(folder))
    return [json.loads((folder / f"rank{rank}.json").read_text()) for rank in (0, 1)]


def alone(rows):
    """All metrics in one process, without batches."""
    predicted, right = zip(*rows, strict=True)
    return {
        f"{kind}/{key}": value
        for kind, metrics in metrics_of().items()
        for metric in metrics
        for key, value in metric.compute(*rows_of(kind, predicted, right)).items()
    }


def test_every_metric_is_that_of_one_process_however_the_trainer_gives_the_rows(ranks):
    expected = alone(ROWS)
    assert len(expected) > 20
    for measured in ranks:
        own = {how: found for how, found in measured.items() if how.startswith("Compression")}
        assert len(own) == 8
        for how, found in own.items():
            assert found == pytest.approx(expected), how


def test_a_stock_seq2seq_trainer_counts_the_rows_that_pad_the_last_batch(ranks):
    """Why ours does not leave the choice to it: the padding is the first rows once more."""
    padded = alone([*ROWS, ROWS[0]])
    assert padded != pytest.approx(alone(ROWS))
    stock = [found for how, found in ranks[0].items() if how.startswith("Seq2Seq")]
    assert len(stock) == 4 and all(found == pytest.approx(padded) for found in stock)
