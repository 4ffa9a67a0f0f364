"""Every tensor of every input goes somewhere."""

import pytest
import torch

from hf_compress import CompressionError
from hf_compress.checkpoints.source import Source, TensorInfo
from hf_compress.merging.configuration import LayerRange, Member, Merge, Slice
from hf_compress.merging.method import MergeMethod
from hf_compress.merging.plan.tensor_tasks import make_plan


class Memory(Source):
    """Tensors in memory."""

    def __init__(self, label, **tensors):
        self.label, self.place, self.config = label, f"/{label}", {}
        self.tensors = {name.replace("_", "."): tensor for name, tensor in tensors.items()}
        self.infos = {name: TensorInfo(dtype=t.dtype, shape=tuple(t.shape)) for name, t in self.tensors.items()}

    def read(self, name):
        return self.tensors[name]


def job(**changes):
    return Merge(members=[Member("a"), Member("b")], **changes)


def sources(first, second, base=None):
    found = {"base": Memory("base", **base)} if base else {}
    return {**found, "a": Memory("a", **first), "b": Memory("b", **second)}


W = torch.ones(2, 3)


def test_floats_are_merged_and_equal_integers_copied():
    n = torch.tensor([1, 2])
    account = make_plan(job(), sources({"w": W, "n": n}, {"w": W, "n": n.clone()}))
    assert {name: task.action for name, task in account.tasks.items()} == {"w": "merge", "n": "copy"}
    assert account.tasks["w"].sources == (("a", "w"), ("b", "w"))
    assert account.excluded == {("b", "n"): "equal in all inputs"}
    assert account.counts() == {"merged": 1, "copied": 1, "excluded": 1}


def test_the_stored_type_is_the_bases():
    account = make_plan(job(base="x"), sources({"w": W}, {"w": W}, base={"w": W.bfloat16()}))
    assert account.tasks["w"].info.dtype is torch.bfloat16 and account.tasks["w"].base == ("base", "w")


def test_mergekit_computes_with_and_stores_the_widest_type_of_the_inputs():
    inputs = sources({"w": W}, {"w": W.half()}, base={"w": W.bfloat16()})
    task = make_plan(job(base="x", compat="mergekit"), inputs).tasks["w"]
    assert (task.info.dtype, task.convert) == (torch.float32, torch.float32)
    task = make_plan(job(base="x", compat="mergekit", input_dtype="float16", dtype="bfloat16"), inputs).tasks["w"]
    assert (task.info.dtype, task.convert) == (torch.bfloat16, torch.float16)
    assert make_plan(job(base="x"), inputs).tasks["w"].convert is None


def test_a_stored_duplicate_of_a_tied_weight_is_left_out():
    account = make_plan(job(), sources({"e": W, "h": W}, {"e": W}), tied={"h": "e"})
    assert list(account.tasks) == ["e"] and account.excluded == {("a", "h"): "tied to e"}


def test_a_tensor_of_one_member_alone_is_a_problem_unless_a_rule_says_so():
    given = sources({"w": W, "x": W}, {"w": W})
    with pytest.raises(CompressionError, match=r"b \(/b\) has no tensor x, which a \(/a\) has"):
        make_plan(job(), given)
    assert make_plan(job(exclude=("x",)), given).excluded == {("a", "x"): "exclude: x"}
    assert make_plan(job(take={"x": "a"}), given).tasks["x"].action == "copy"
    with pytest.raises(CompressionError, match="take: x: x comes from a here, and not from b"):
        make_plan(job(take={"x": "b"}), given)


def planned(first, second, base=None, method="linear", **lent):
    """The task of w where some inputs rightly lack it."""
    merge = job(method=MergeMethod.create(method), base="x" if base is not None else None)
    return make_plan(merge, sources(first, second, base), lent={"v": {"a", "b"}, **lent}).tasks["w"]


def test_what_some_inputs_rightly_lack_is_the_others_business():
    alone = planned({"w": W}, {}, w={"b"})
    assert (alone.action, alone.sources, alone.reason) == ("copy", (("a", "w"),), "a alone has it")
    both = planned({"w": W}, {"w": W}, {"v": W}, "task_arithmetic", w={"base"})
    assert (both.action, both.mean, both.base) == ("merge", True, None)
    one = planned({"w": W}, {}, {"v": W}, "task_arithmetic", w={"base", "b"})
    assert (one.action, one.mean) == ("copy", False)
    changed = planned({"w": W}, {}, {"w": W}, "task_arithmetic", w={"b"})
    assert (changed.action, changed.mean, changed.base) == ("merge", False, ("base", "w"))
    mean = planned({"w": W}, {"w": W}, {"v": W}, "linear", w={"base"})
    assert (mean.action, mean.mean, mean.base) == ("merge", False, None)


def test_what_the_class_ignores_is_left_out_where_not_all_have_it():
    ignored = {"x": "the class ignores it"}
    account = make_plan(job(), sources({"w": W, "x": W}, {"w": W}), ignored=ignored)
    assert list(account.tasks) == ["w"] and account.excluded == {("a", "x"): "the class ignores it"}
    account = make_plan(job(), sources({"w": W, "x": W}, {"w": W, "x": W}), ignored=ignored)
    assert account.tasks["x"].action == "merge"
    account = make_plan(job(take={"x": "a"}), sources({"w": W, "x": W}, {"w": W}), ignored=ignored)
    assert account.tasks["x"].action == "copy"


def test_a_head_is_copied_from_any_source_of_its_slice():
    stacked = job(slices=(Slice(sources=(LayerRange(member="b", layers=(0, 1)),)),))
    account = make_plan(stacked, sources({"w": W}, {"w": W}), {"w": [("b", "w")]}, copied=["w"])
    assert account.tasks["w"].sources == (("b", "w"),)


def test_a_rule_that_matches_nothing_is_refused():
    with pytest.raises(CompressionError, match=r"exclude: 're:y.*' matches no tensor"):
        make_plan(job(exclude=("re:y.*",)), sources({"w": W}, {"w": W}))


def test_a_rule_behind_another_may_leave_out_again_but_not_take():
    given = sources({"v": W, "w": W}, {"v": W, "w": W})
    assert list(make_plan(job(exclude=("re:w.*", "w")), given).tasks) == ["v"]
    for rules in ({"take": {"re:w.*": "a", "w": "b"}}, {"take": {"w": "b"}, "exclude": ("w",)}):
        with pytest.raises(CompressionError, match="take: 'w' decides nothing, as exclude, a pattern before it"):
            make_plan(job(**rules), given)


def test_eight_bit_floats_without_scales_are_refused():
    given = sources({"w": W.to(torch.float8_e4m3fn)}, {"w": W})
    with pytest.raises(CompressionError, match="8-bit floats without a scale"):
        make_plan(job(), given)


def test_a_float_and_an_integer_do_not_mix():
    with pytest.raises(CompressionError, match="w is float32 and int64 in different inputs"):
        make_plan(job(), sources({"w": W}, {"w": W.long()}))


def test_ten_problems_are_listed_and_the_rest_counted():
    many = {f"t{number}": torch.ones(number + 1) for number in range(13)}
    with pytest.raises(CompressionError) as caught:
        make_plan(job(), sources(many, {name: torch.ones(99) for name in many}))
    assert len(str(caught.value).splitlines()) == 11 and str(caught.value).endswith("... and 3 more")
