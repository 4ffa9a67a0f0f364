"""Ensembles as one graph that knows nothing of this package, nor of the members."""

import logging

import pytest
import torch

from hf_compress import Cascade, Gate, Gating, OnnxFormat, ParallelEnsemble, Stacking
from hf_compress._forward.probe import unpadded_inputs
from hf_compress.checkpoints.exported import load_exported
from hf_compress.ensembling.modelling.in_graph import BRANCHES
from hf_compress.export.formats.openvino import OpenVinoFormat
from tests.ensembling.folders import images, lower_tokenizer, sounds, texts
from tests.tiny import tiny_tokenizer

pytestmark = pytest.mark.skipif(bool(OnnxFormat().mistake(quantized=False)), reason="ONNX's packages are missing")

MEMBERS = {
    "text": texts,
    "two tokenizers": lambda: texts((tiny_tokenizer, lower_tokenizer)),
    "image": images,
    "sound": sounds,
}


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=[pytest.mark.slow] * (kind != "sound")) for kind in MEMBERS])
def test_one_onnx_graph_answers_as_the_ensemble(kind, tmp_path):
    """That it does is what `write` asks of it; here its files are run once more, by ONNX Runtime alone."""
    import onnxruntime

    members, processors = MEMBERS[kind]()
    made = ParallelEnsemble.from_members(members, processors=processors, weights=[1, 2])
    OnnxFormat().write(made, tmp_path / "out", made.processor)
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    inputs = unpadded_inputs(made, 5)
    names = {one.name for one in session.get_inputs()}
    answers = session.run(None, {key: value.numpy() for key, value in inputs.items() if key in names})
    with torch.no_grad():
        torch.testing.assert_close(torch.tensor(answers[0]), made(**inputs).logits, rtol=1e-4, atol=1e-4)


def gate():
    made = Gate(2, 3)
    made.outer.weight.data.copy_(torch.linspace(-1, 1, 16).view(2, 8))
    return made


KINDS = {
    "cascade": lambda members: Cascade.from_members(members, thresholds=[0.6]),
    "stacking": lambda members: Stacking.from_members(
        members, weight=torch.linspace(-1, 1, 18).view(3, 6), bias=torch.zeros(3)
    ),
    "gating": lambda members: Gating.from_members(members, gate=gate()),
}


UNFOLLOWED = {("openvino", sounds): "No conversion rule found for operations"}
"""Format and members -> why no later member is left out of the graph; rows leave in all others."""


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("make", [texts, images, sounds])
@pytest.mark.parametrize("form", [OnnxFormat(), OpenVinoFormat()])
def test_kinds_above_members_are_one_graph_too(kind, make, form, tmp_path, caplog):
    if form.mistake(quantized=False):
        pytest.skip(form.mistake(quantized=False))
    members, processors = make()
    made = KINDS[kind](members)
    made.processor = processors[0]
    with caplog.at_level(logging.INFO, logger="hf_compress"):
        form.save(made, tmp_path / "out", made.processor)
    said = [message for message in caplog.messages if message.startswith("in this graph")]
    if kind != "cascade":
        assert not said
    elif (reason := UNFOLLOWED.get((form.name, make))) is None:
        assert said == [f"in this graph {BRANCHES['rows']}"]
    else:
        assert said[0].startswith(f"in this graph {BRANCHES['none']} (") and reason in said[0]
    graph = load_exported(tmp_path / "out")
    for rows in (1, 12):
        inputs = unpadded_inputs(made, rows)
        inputs = {key: value.roll(1) if value.is_floating_point() else value % 60 for key, value in inputs.items()}
        options = {"output_stages": True} if kind == "cascade" else {}
        with torch.no_grad():
            wanted = made(**inputs, **options)
        found = graph(**inputs)
        torch.testing.assert_close(found["logits"], wanted.logits, rtol=1e-5, atol=1e-5)
        if kind == "cascade":
            assert torch.equal(found["stages"].long(), wanted.stages)
