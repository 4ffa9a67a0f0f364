"""Layers other than Linear: convolutions over time, and embeddings where they are asked for."""

import pytest
import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from hf_compress import NM, RIA, CompressionError, Constant, Magnitude, Pruning, SparseGPT, Wanda, prune
from hf_compress.pruning.masks import Masks
from tests.tiny import tiny_llama
from tests.training.runs import llama_trainer

HALF = Constant(final=0.5)
TABLE = {"targets": ["Embedding"], "schedule": HALF}


class Frames(nn.Module):
    """A convolution over time behind another."""

    def __init__(self):
        super().__init__()
        self.first = nn.Conv1d(3, 8, 5, stride=2, padding=2, dilation=2)
        self.second = nn.Conv1d(8, 4, 3)

    def forward(self, frames):
        return self.second(self.first(frames).relu())


def test_wanda_on_a_convolution_over_time_is_that_of_its_patches():
    torch.manual_seed(0)
    model, batches = Frames(), [{"frames": torch.randn(2, 3, 40)} for _ in range(3)]
    with torch.no_grad():
        hidden = torch.cat([model.first(batch["frames"]).relu() for batch in batches])
    patches = (
        hidden.unfold(2, 3, 1).permute(0, 2, 1, 3).reshape(-1, 8 * 3)
    )  # by hand: a row per frame, channels then kernel
    weight = model.second.weight.detach().clone()
    masks = prune(model, Pruning(criterion=Wanda(), targets=["second"], schedule=HALF), calibration=batches)
    score = weight.flatten(1).abs() * patches.norm(dim=0)
    expected = score >= score.sort(dim=1).values[:, 12:13]
    assert torch.equal(masks["second"], expected)
    assert torch.equal(model.second.weight.flatten(1) != 0, expected)


@pytest.mark.parametrize("solver", [None, SparseGPT()])
def test_convolutions_over_time_are_pruned_by_every_way(solver):
    torch.manual_seed(0)
    model, batches = Frames(), [{"frames": torch.randn(4, 3, 40)} for _ in range(3)]
    job = Pruning(targets=["Conv1d"], schedule=HALF, **({} if solver else {"criterion": RIA()}))
    prune(model, job, calibration=batches, solver=solver)
    for layer in (model.first, model.second):
        assert int((layer.weight == 0).sum()) == layer.weight.numel() // 2


def test_two_of_four_run_along_the_channels_of_a_convolution_over_time():
    torch.manual_seed(0)
    model = Frames()
    prune(model, Pruning(targets=["second"], pattern=NM(n=2, m=4), schedule=HALF))
    assert bool(((model.second.weight != 0).unflatten(1, (2, 4)).sum(2) == 2).all())


def test_an_embedding_that_is_asked_for_loses_its_smallest_numbers_and_trains_on(tmp_path):
    model = tiny_llama(seed=0)
    table = model.model.embed_tokens.weight.detach().clone()
    trainer = llama_trainer(tmp_path, {"pruning": Pruning(**TABLE)}, model, save_strategy="no", learning_rate=1e-3)
    trainer.train()
    trained = trainer.finalize().model.embed_tokens.weight.detach()
    assert int((trained == 0).sum()) == table.numel() // 2
    still = trained[1] == 0  # an id of no row of the data: masks alone have touched it
    assert torch.equal(still, table[1].abs() < table[1].abs()[~still].min()) and 0 < int(still.sum()) < 32


def test_the_vector_of_padding_is_not_taken_for_pruned():
    embedding = nn.Embedding(10, 6, padding_idx=3)
    with torch.no_grad():
        embedding.weight[:, ::2] = 0.0
    masks = Masks(nn.Sequential(embedding), Pruning(masks="from_zeros", targets=["Embedding"]))
    masks.hold_zeros()
    keep = masks.keep["0"]  # (D, V)
    assert bool(keep[:, 3].all()) and masks.num_pruned() == 9 * 3
    assert not bool(keep[::2, [0, 1, 2, 4]].any()) and bool(keep[1::2].all())


def test_a_tied_embedding_is_refused_by_name_and_by_class():
    model = tiny_llama(seed=0, tie_word_embeddings=True)
    for target in ("model.embed_tokens", "Embedding"):
        with pytest.raises(CompressionError, match=r"embed_tokens cannot be compressed: its weight is tied to lm_head"):
            prune(model, Pruning(targets=[target], schedule=HALF))


@pytest.mark.parametrize(
    ("job", "message"),
    [
        (Pruning(criterion=Wanda(), **TABLE), "looks up ids and multiplies no inputs, so it has no input_norm for wanda"),
        (Pruning(pattern=NM(n=2, m=4), **TABLE), "n_m groups neighbouring inputs, and those of an embedding are ids"),
    ],
)
def test_what_an_embedding_does_not_have_is_refused(job, message):
    with pytest.raises(CompressionError, match=message):
        prune(tiny_llama(seed=0), job, calibration=[{"input_ids": torch.arange(3, 9)[None]}])


def test_a_solver_and_sparse_gradients_are_refused_for_an_embedding():
    batches = [{"input_ids": torch.arange(3, 9)[None]}]
    with pytest.raises(CompressionError, match="so it has no gram for sparsegpt"):
        prune(tiny_llama(seed=0), Pruning(**TABLE), calibration=batches, solver=SparseGPT())
    with pytest.raises(CompressionError, match="0 is an embedding with sparse gradients"):
        prune(nn.Sequential(nn.Embedding(4, 4, sparse=True)), Pruning(**TABLE))


def test_gradients_and_moments_of_stored_transposed_layers_are_masked_where_the_weights_are():
    torch.manual_seed(0)
    model = nn.Sequential(Conv1D(6, 4))
    optimizer = torch.optim.AdamW(model.parameters())
    masks = Masks(model, Pruning(criterion=Magnitude(), targets=["Conv1D"], schedule=HALF))
    model(torch.randn(3, 4)).sum().backward()
    optimizer.step()
    masks.update(0.5)
    masks.apply()
    masks.apply_to_gradients()
    masks.apply_to_optimizer(optimizer)
    gone = model[0].weight == 0
    assert int(gone.sum()) == 12
    assert bool((model[0].weight.grad[gone] == 0).all())
    assert bool((optimizer.state[model[0].weight]["exp_avg"][gone] == 0).all())
