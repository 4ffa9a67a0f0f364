"""A model before its training, prepared for what a trainer was asked to do."""

from types import SimpleNamespace

import pytest
import torch

from hf_compress import CompressionError, Pruning, Quantization
from hf_compress.quantization.qat import is_enabled
from hf_compress.training.compression import NOTHING, Compression
from hf_compress.training.prepare import prepare_model
from tests.tiny import tiny_llama
from tests.training.runs import arguments, everything, weights


def asked(tmp_path, compression):
    return SimpleNamespace(compression=compression, args=arguments(tmp_path), processing_class=None, said=set())


def test_the_teacher_is_the_model_before_its_modules_are_prepared(tmp_path):
    model = tiny_llama(seed=0)
    before = weights(model)
    step = prepare_model(asked(tmp_path, Compression(**everything())), model)
    kinds = {type(module).__name__ for module in model.modules()}
    assert step.teacher.copied is not None
    assert {type(module).__name__ for module in step.teacher.copied.modules()} < kinds
    # Fake quantization is there, and off; no weight has moved.
    assert not is_enabled(model)
    assert all(torch.equal(before[name], tensor) for name, tensor in weights(model).items() if name in before)


def test_where_nothing_is_asked_nothing_is_changed(tmp_path):
    model = tiny_llama(seed=0)
    kinds = [type(module) for module in model.modules()]
    assert prepare_model(asked(tmp_path, NOTHING), model) is None
    assert [type(module) for module in model.modules()] == kinds


@pytest.mark.parametrize(
    "compression", [Compression(pruning=Pruning(targets=["Conv9d"])), Compression(quantization=Quantization(targets=["C"]))]
)
def test_targets_that_match_nothing_are_refused(compression, tmp_path):
    with pytest.raises(CompressionError, match="matches no module"):
        prepare_model(asked(tmp_path, compression), tiny_llama(seed=0))
