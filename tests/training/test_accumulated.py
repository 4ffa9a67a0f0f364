"""What a criterion adds up survives an interruption, bit for bit."""

import shutil

import pytest
import torch

from hf_compress import CompressionError, Cubic, Movement, Pruning, save_result
from hf_compress.checkpoints.published_files import is_state
from hf_compress.training.accumulated import FILE, Accumulated
from tests.tiny import tiny_llama
from tests.training.runs import assert_equal_bits, llama_trainer, quantization, weights
from tests.training.test_resume import StopAt


def job(**changes):
    return {"pruning": Pruning(criterion=Movement(), schedule=Cubic(final=0.5, end="75%", every=2)), **changes}


@pytest.mark.parametrize("stop", [3, 6])
@pytest.mark.parametrize("changes", [{}, {"quantization": quantization()}], ids=["pruning", "with quantization"])
def test_resumed_run_equals_straight_run_bit_for_bit(stop, changes, tmp_path):
    straight = llama_trainer(tmp_path / "straight", job(**changes))
    straight.train()
    llama_trainer(tmp_path / "resumed", job(**changes), callbacks=[StopAt(stop)]).train()
    resumed = llama_trainer(tmp_path / "resumed", job(**changes))
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 12
    assert_equal_bits(weights(straight.model), weights(resumed.model))
    totals = [trainer.progress.pruning.accumulated.totals for trainer in (straight, resumed)]
    assert len(totals[0]) == 14
    assert_equal_bits(*totals)


def test_without_the_totals_a_resumed_run_would_be_another_one_and_is_refused(tmp_path):
    """First that they matter: with the totals of another step the weights end differently. Then that they are asked for."""
    straight = llama_trainer(tmp_path / "straight", job())
    straight.train()
    llama_trainer(tmp_path / "resumed", job(), callbacks=[StopAt(6)]).train()
    folder = tmp_path / "resumed" / "checkpoint-6"
    assert (folder / FILE).is_file() and is_state(FILE)
    shutil.copy(tmp_path / "straight" / "checkpoint-3" / FILE, folder / FILE)
    other = llama_trainer(tmp_path / "resumed", job())
    other.train(resume_from_checkpoint=str(folder))
    assert any(not torch.equal(one, weights(other.model)[name]) for name, one in weights(straight.model).items())
    (folder / FILE).write_bytes(b"no tensors")
    with pytest.raises(CompressionError, match="pruning.safetensors cannot be read"):
        llama_trainer(tmp_path / "resumed", job()).train(resume_from_checkpoint=str(folder))
    (folder / FILE).unlink()
    with pytest.raises(CompressionError, match="has no pruning.safetensors with what criterion 'movement' has added up"):
        llama_trainer(tmp_path / "resumed", job()).train(resume_from_checkpoint=str(folder))


def test_a_second_training_begins_with_nothing_and_results_carry_no_totals(tmp_path):
    trainer = llama_trainer(tmp_path / "run", job(), max_steps=3)
    trainer.train()
    first = trainer.progress.pruning.accumulated
    trainer.train()
    assert trainer.progress.pruning.accumulated is not first
    report = save_result(trainer, tmp_path / "out", baseline=tiny_llama(seed=0))
    assert [row.name for row in report.rows] == ["dense", "ours"], "nothing can be compressed so without training"
    assert not (tmp_path / "out" / FILE).exists()


def test_a_frozen_layer_and_totals_of_another_model_are_refused_before_the_first_step(tmp_path):
    model = tiny_llama(seed=0)
    model.model.layers[0].mlp.up_proj.weight.requires_grad_(False)
    with pytest.raises(CompressionError, match=r"'movement' adds up gradients, and model.layers.0.mlp.up_proj is frozen"):
        llama_trainer(tmp_path, job(), model=model).train()
    accumulated = Accumulated(Movement())
    accumulated.totals = {"0": torch.zeros(2, 3)}
    with pytest.raises(CompressionError, match=r"has \(2, 3\) numbers for 0, which has \(3, 2\) weights"):
        accumulated.check({"0": torch.nn.Linear(2, 3)})


def test_a_layer_without_a_gradient_stays_where_it_is():
    layer, accumulated = torch.nn.Linear(2, 1, bias=False), Accumulated(Movement())
    accumulated.add({"0": layer})
    assert accumulated.beside({}, {"0": layer})["0"]["accumulated"].tolist() == [[0.0, 0.0]]
    layer.weight.grad = torch.tensor([[1.0, -1.0]])
    accumulated.add({"0": layer})
    assert torch.equal(accumulated.totals["0"], -layer.weight.detach() * layer.weight.grad)
