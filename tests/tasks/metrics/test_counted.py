"""What the Trainer passes, under any of its arguments, ends as the same numbers."""

from types import SimpleNamespace

import numpy
import pytest
import torch

from hf_compress._errors import CompressionError
from hf_compress.tasks.metrics.builtin.accuracy import Accuracy
from hf_compress.tasks.metrics.builtin.f1 import MacroF1
from hf_compress.tasks.metrics.classification import decode_classes
from hf_compress.tasks.metrics.counted import Counted

LOGITS = numpy.random.default_rng(0).normal(size=(11, 3)).astype("float32")
LABELS = numpy.array([0, 1, 2, 2, -100, 1, 0, 0, 1, 2, 2])


def counted():
    return Counted((Accuracy(), MacroF1()), decode_classes)


def evaluation(predictions, labels):
    return SimpleNamespace(predictions=predictions, label_ids=labels)


def whole():
    return counted()(evaluation(LOGITS, LABELS))


def test_rows_without_a_label_do_not_count_and_keys_are_the_metrics_own():
    kept = LABELS != -100
    right = LOGITS[kept].argmax(-1) == LABELS[kept]
    assert whole()["accuracy"] == pytest.approx(right.mean()) and list(whole()) == ["accuracy", "macro_f1"]


def test_a_list_of_batches_gives_the_same():
    cuts = [LOGITS[:4], LOGITS[4:8], LOGITS[8:]], [LABELS[:4], LABELS[4:8], LABELS[8:]]
    assert counted()(evaluation(*cuts)) == whole()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_batch_after_batch_gives_the_same_and_forgets_it(dtype):
    logits, labels = torch.tensor(LOGITS, dtype=dtype), torch.tensor(LABELS)
    one, metrics = counted()(evaluation(logits.float().numpy(), LABELS)), counted()
    for _ in range(2):
        for begin in (0, 4):
            part = slice(begin, begin + 4)
            assert metrics(evaluation(logits[part], labels[part]), compute_result=False) == {}
        assert metrics(evaluation(logits[8:], labels[8:]), compute_result=True) == one


def test_of_several_outputs_the_first_are_the_logits():
    assert counted()(evaluation((LOGITS, "hidden states"), LABELS)) == whole()


def test_several_labels_come_as_a_tuple():
    both = Counted([Accuracy()], lambda logits, labels: (logits.argmax(-1), numpy.where(labels[0] >= 0, *labels)))
    labels = torch.tensor(LABELS), torch.tensor(LABELS).flip(0)
    assert both(evaluation(torch.tensor(LOGITS), labels)) == both(evaluation(LOGITS, tuple(one.numpy() for one in labels)))


def test_no_row_with_a_label_is_refused():
    with pytest.raises(
        CompressionError, match="accuracy of no predictions is not defined; the evaluation split has no row"
    ):
        counted()(evaluation(LOGITS, numpy.full(11, -100)))
