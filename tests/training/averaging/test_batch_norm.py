import pytest
import torch

from hf_compress import CompressionError
from hf_compress.training.averaging.batch_norm import update_batch_norm
from tests.tiny import tiny_vit
from tests.training.averaging.recorded import Batch
from tests.training.averaging.test_checkpoint import tiny_resnet
from tests.training.runs import assert_equal_bits, weights


def batches(size=16):
    data = Batch(size)
    return [{"pixel_values": torch.stack([data[i]["pixel_values"] for i in range(k, k + 4)])} for k in (0, 4, 8)]


def test_statistics_are_the_mean_over_the_batches():
    model = tiny_resnet().eval()
    norm = model.resnet.embedder.embedder.normalization
    inputs = []
    handle = norm.register_forward_pre_hook(lambda module, args: inputs.append(args[0].detach()))
    update_batch_norm(model, batches())
    handle.remove()
    expected = torch.stack([x.mean(dim=(0, 2, 3)) for x in inputs]).mean(0)
    torch.testing.assert_close(norm.running_mean, expected)
    expected = torch.stack([x.transpose(0, 1).flatten(1).var(1) for x in inputs]).mean(0)
    torch.testing.assert_close(norm.running_var, expected)


def test_weights_and_modes_stay():
    model = tiny_resnet().train()
    model.classifier.eval()
    before, momentum = (
        {n: p.clone() for n, p in model.named_parameters()},
        model.resnet.embedder.embedder.normalization.momentum,
    )
    update_batch_norm(model, batches())
    assert all(torch.equal(before[n], p) for n, p in model.named_parameters())
    assert model.training and not model.classifier.training
    assert model.resnet.embedder.embedder.normalization.momentum == momentum


def test_a_model_without_batch_norm_is_left_alone():
    model = tiny_vit()
    before = weights(model)
    update_batch_norm(model, batches())
    assert_equal_bits(before, weights(model))


def test_no_batches_are_refused_before_the_statistics_are_gone():
    model = tiny_resnet()
    before = weights(model)
    with pytest.raises(CompressionError, match="got no batches"):
        update_batch_norm(model, [])
    assert_equal_bits(before, weights(model))


def test_a_batch_that_fails_leaves_the_model_as_it_was():
    model = tiny_resnet()
    before, momentum = weights(model), model.resnet.embedder.embedder.normalization.momentum
    with pytest.raises(AttributeError):
        update_batch_norm(model, [*batches(), {"labels": torch.zeros(4)}])
    assert_equal_bits(before, weights(model))
    assert model.resnet.embedder.embedder.normalization.momentum == momentum
