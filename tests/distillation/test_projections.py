from types import SimpleNamespace

import pytest
import torch
from torch import nn

from hf_compress import CompressionError, Distillation, ForwardKL, ModelTeacher
from hf_compress.distillation.projections import FILE, Projections, check_projections
from tests.distillation.inside import Maps, States
from tests.tiny import tiny_llama, tiny_t5
from tests.training.runs import assert_equal_bits

SMALL, WIDE = tiny_llama().config, tiny_llama(hidden_size=48).config


def job(*losses, teacher=None):
    teacher = tiny_llama(hidden_size=48) if teacher is None else teacher
    return Distillation(teacher=ModelTeacher(model=teacher), losses=[(0.5 / len(losses), loss) for loss in losses])


def test_they_are_what_the_losses_build_by_their_place():
    made = Projections(job(ForwardKL(), States(), Maps(), States(layer=2)), SMALL, seed=0)
    assert list(made) == [1, 3] and len(made) == 2 and made.get(0) is None
    assert made[1].weight.shape == (48, 32)
    assert not Projections(job(States(), teacher=tiny_llama()), SMALL, seed=0)
    assert not Projections(job(ForwardKL()), SMALL, seed=0)


def test_their_random_numbers_are_the_seeds_and_leave_the_runs_alone():
    torch.manual_seed(5)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    one, two, other = (Projections(job(States()), SMALL, seed=seed).modules.state_dict() for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), wanted)
    assert_equal_bits(one, two)
    assert not torch.equal(one["0.weight"], other["0.weight"])


def test_a_checkpoint_gives_them_back_to_the_bit_and_another_is_refused(tmp_path):
    saved, loaded = (Projections(job(States()), SMALL, seed=seed) for seed in (0, 1))
    saved.save(tmp_path)
    kept = loaded[0].weight
    loaded.load(tmp_path)
    assert_equal_bits(saved.modules.state_dict(), loaded.modules.state_dict())
    assert loaded[0].weight is kept, "the optimizer holds it"
    with pytest.raises(CompressionError, match=f"has no {FILE}, which this run's losses trained"):
        loaded.load(tmp_path / "nowhere")
    with pytest.raises(CompressionError, match=f"{FILE} does not hold what this run's losses train .*0.weight"):
        Projections(job(ForwardKL(), States()), SMALL, seed=0).load(tmp_path)
    (tmp_path / FILE).write_bytes(b"damaged")
    with pytest.raises(CompressionError, match="does not hold what this run's losses train"):
        loaded.load(tmp_path)


def test_gradients_are_cleared_once_a_step_and_stay_within_it():
    made = Projections(job(States()), SMALL, seed=0)
    for expected in (1.0, 2.0):
        made.begin()
        made[0].bias.sum().backward()
        assert made[0].bias.grad.unique().tolist() == [expected]
    made.end()
    made.begin()
    assert made[0].bias.grad is None


def test_running_statistics_and_layers_that_are_not_there_are_refused():
    class Normed(States):
        name = "normed"

        def build(self, student, teacher):
            return nn.BatchNorm1d(4)

    with pytest.raises(CompressionError, match="normed builds a module with the buffer num_batches_tracked"):
        Projections(job(Normed()), SMALL, seed=0)
    with pytest.raises(CompressionError, match="layer=3 is past the 2 layers of the student"):
        check_projections(job(States(layer=3)), SMALL)
    with pytest.raises(CompressionError, match="losses on hidden states compare models with one stack .*student .t5."):
        check_projections(job(States()), tiny_t5().config)
    check_projections(job(ForwardKL()), tiny_t5().config)
    check_projections(job(States()), SimpleNamespace(**SMALL.to_dict()))
