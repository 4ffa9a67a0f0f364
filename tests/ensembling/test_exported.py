"""Parallel ensembles as one graph that knows nothing of this package, nor of the members."""

import pytest
import torch

from hf_compress import OnnxFormat, ParallelEnsemble
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

    from hf_compress._forward.probe import unpadded_inputs

    members, processors = MEMBERS[kind]()
    made = ParallelEnsemble.from_members(members, processors=processors, weights=[1, 2])
    OnnxFormat().write(made, tmp_path / "out", made.processor)
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    inputs = unpadded_inputs(made, 5)
    names = {one.name for one in session.get_inputs()}
    answers = session.run(None, {key: value.numpy() for key, value in inputs.items() if key in names})
    with torch.no_grad():
        torch.testing.assert_close(torch.tensor(answers[0]), made(**inputs).logits, rtol=1e-4, atol=1e-4)
