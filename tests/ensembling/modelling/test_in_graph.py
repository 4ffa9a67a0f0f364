"""Cascades as graphs, against the same cascades in Python."""

import copy
import functools

import pytest
import torch
from torch.export import Dim

from hf_compress import Cascade
from hf_compress.ensembling.confidence import Confidence
from hf_compress.ensembling.modelling.in_graph import BRANCHES, branches
from tests.ensembling.folders import images, named

PIXELS = torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def cascade():
    members, _ = images()
    named(members[1], "cab")
    with torch.no_grad():
        score = Confidence.create("margin").score(members[0](pixel_values=PIXELS).logits.log_softmax(-1))
    return Cascade.from_members(members, thresholds=[score.median().item()], confidence="margin")


def exported(made, way):
    with torch.no_grad(), branches(way):
        return torch.export.export(
            made, (), {"pixel_values": PIXELS[:5]}, dynamic_shapes={"pixel_values": {0: Dim.AUTO}}, strict=False
        )


@pytest.fixture(scope="module")
def programs(cascade):
    """With weights of their own, since a program's module changes them in place."""
    return functools.cache(lambda way: exported(copy.deepcopy(cascade), way))


def ways(*names):
    """An export takes seconds, so the default run has one."""
    return pytest.mark.parametrize("way", [pytest.param(way, marks=[pytest.mark.slow] * (way != "rows")) for way in names])


@ways(*BRANCHES)
def test_a_graph_answers_as_the_cascade_and_says_who_did(cascade, programs, way):
    program = programs(way)
    assert sum("cond" in str(node.target) for node in program.graph.nodes if node.op == "call_function") == (way != "none")
    for branch in program.graph_module.children():  # exporters take no branch that holds tensors of its own
        assert not any(isinstance(getattr(branch, str(node.target), None), torch.Tensor) for node in branch.graph.nodes)
    surest = cascade(pixel_values=PIXELS, output_stages=True).stages == 0
    for pixels in (PIXELS, PIXELS[:1], PIXELS[surest], PIXELS[~surest]):
        with torch.no_grad():
            wanted = cascade(pixel_values=pixels, output_stages=True)
            found = program.module()(pixel_values=pixels)
        torch.testing.assert_close(found["logits"], wanted.logits, rtol=1e-5, atol=1e-5)
        assert torch.equal(found["stages"], wanted.stages)


@ways("rows", "batch")
def test_a_member_that_no_row_reaches_is_not_asked(cascade, programs, way):
    """Were it asked, the NaN of its weights would show."""
    stages = cascade(pixel_values=PIXELS, output_stages=True).stages
    module = copy.deepcopy(programs(way)).module()
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if name.startswith("members.1."):
                weight.fill_(float("nan"))
        assert not module(pixel_values=PIXELS[stages == 0])["logits"].isnan().any()
        assert torch.equal(module(pixel_values=PIXELS)["logits"].isnan().any(-1), stages == 1)


@pytest.mark.slow
def test_rows_with_nan_show_it_or_go_on(cascade, programs):
    broken = PIXELS.clone()
    broken[3] = float("nan")
    made = copy.deepcopy(cascade)
    made.config.on_nan = "leave_out"
    wanted = cascade(pixel_values=PIXELS, output_stages=True)
    others = torch.arange(12) != 3
    # All members say NaN of it: that is the first one's answer where NaN is refused, and nobody's where it is passed on.
    for program, who in ((programs("rows"), 0), (programs("none"), 0), (exported(made, "rows"), -1)):
        with torch.no_grad():
            found = program.module()(pixel_values=broken)
        assert found["stages"][3] == who and found["logits"][3].isnan().all()
        torch.testing.assert_close(found["logits"][others], wanted.logits[others], rtol=1e-5, atol=1e-5)
        assert torch.equal(found["stages"][others], wanted.stages[others])
