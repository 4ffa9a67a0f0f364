"""Chunks, threads and what is looked for on the way."""

import pytest
import torch

from hf_compress.merging import operands
from hf_compress.merging.configuration import Sparsity
from hf_compress.merging.engine.engine import Engine, one_torch_thread
from hf_compress.merging.engine.zeros import ZerosPolicy
from hf_compress.merging.methods.linear import Linear
from hf_compress.merging.operands import Operands
from hf_compress.merging.plan.parameters import Parameters
from hf_compress.merging.plan.tensor_tasks import make_plan
from tests.merging.plan.test_tensor_tasks import Memory, job


def engine(first, second):
    sources = {"a": Memory("a", w=first), "b": Memory("b", w=second)}
    account = make_plan(job(), sources)
    made = Parameters(method=Linear(), values={"weight": (0.25, 0.75)})
    return Engine(sources=sources, account=account, parameters_of=lambda name: made), account.tasks["w"]


def whole(parts):
    return torch.cat([values.reshape(-1) for _, values in parts])


def test_a_tensor_of_many_chunks_is_merged_like_a_small_one(monkeypatch):
    a, b = torch.randn(7, 11), torch.randn(7, 11)
    made, task = engine(a, b)
    straight = whole(made.compute(task))
    monkeypatch.setattr(operands, "CHUNK", 10)
    parts = list(made.compute(task))
    assert [start for start, _ in parts] == list(range(0, 77, 10))
    assert torch.equal(whole(parts), straight)
    torch.testing.assert_close(straight.view(7, 11), 0.25 * a + 0.75 * b)


def test_inputs_are_rounded_before_they_are_merged():
    # In bf16, 1 + 2**-9 is 1, so nothing is left of the difference that fp32 keeps.
    sources = {"a": Memory("a", w=torch.tensor([1 + 2**-9])), "b": Memory("b", w=torch.tensor([1.0]))}
    made = Parameters(method=Linear(normalize=False), values={"weight": (1.0, -1.0)})
    for kind, expected in (("auto", 2**-9), ("float32", 2**-9), ("bfloat16", 0.0)):
        account = make_plan(job(input_dtype=kind), sources)
        ((_, values),) = Engine(sources=sources, account=account, parameters_of=lambda name: made).compute(
            account.tasks["w"]
        )
        assert values.tolist() == [expected] and values.dtype == torch.float32


def test_empty_and_scalar_tensors_pass():
    made, task = engine(torch.ones(0, 3), torch.ones(0, 3))
    assert list(made.compute(task)) == []
    made, task = engine(torch.tensor(1.0), torch.tensor(3.0))
    ((start, values),) = made.compute(task)
    assert (start, values.tolist()) == (0, [2.5])


def pruned_pair():
    """Two weights of 50 % zeros at other places: 0b01 means only the first is zero there."""
    a = torch.tensor([[0.0, 0.0, 1.0, 2.0], [0.0, 3.0, 0.0, 4.0]])
    b = torch.tensor([[0.0, 5.0, 0.0, 6.0], [7.0, 0.0, 0.0, 8.0]])
    return a, b


@pytest.mark.parametrize(("policy", "zeros"), [("measure", 2), ("union", 2), ("intersection", 6), ("prune", 4)])
def test_zeros_of_members_follow_the_policy_and_are_counted(policy, zeros):
    made, task = engine(*pruned_pair())
    made.sparsity = ZerosPolicy(Sparsity(policy=policy), ["a", "b"])
    merged = whole(made.compute(task))
    assert int((merged == 0).sum()) == zeros
    assert made.sparsity.report()["overall"] == {"a": 0.5, "b": 0.5, "result": zeros / 8}


def test_huge_but_finite_values_are_not_taken_for_infinity():
    huge = torch.full((4,), 3e38)
    made, task = engine(huge, huge)
    assert whole(made.compute(task)).tolist() == huge.tolist()


def test_torch_threads_are_put_back():
    before = torch.get_num_threads()
    with pytest.raises(RuntimeError), one_torch_thread():
        assert torch.get_num_threads() == 1
        raise RuntimeError
    assert torch.get_num_threads() == before


def draw(offset=0, **changes):
    base = {"name": "w", "members": ("a", "b"), "tensors": (torch.ones(4), torch.ones(4)), "seed": 3}
    made = Operands(**{**base, **changes}, offset=offset, num_elements=4)
    return torch.rand(8, generator=made.generator(0)).tolist()


def test_random_numbers_follow_seed_label_name_and_place_and_nothing_else():
    one = draw()
    assert one == draw() == draw(members=("a", "other")) == draw(tensors=(torch.zeros(4), torch.ones(4)))
    others = [draw(seed=4), draw(members=("c", "b")), draw(name="v"), draw(offset=2**18)]
    assert all(one != other for other in others)
