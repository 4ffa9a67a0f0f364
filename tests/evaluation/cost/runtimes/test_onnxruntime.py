"""The exported graph, timed."""

import pytest
import torch

from hf_compress.checkpoints.exported import missing_packages
from hf_compress.evaluation.cost.batches import batch_of
from hf_compress.evaluation.cost.runtimes.onnxruntime import OnnxRuntime
from tests.tiny import tiny_vit


@pytest.mark.skipif(bool(missing_packages("onnx")), reason=missing_packages("onnx"))
def test_it_computes_what_the_model_does():
    model = tiny_vit().eval()
    batch = batch_of(model, 4, None)
    prepared = OnnxRuntime().prepare(model, batch)
    with torch.no_grad():
        torch.testing.assert_close(prepared.call(batch).logits, model(**batch).logits, rtol=1e-4, atol=1e-5)  # fp32 sums
    assert prepared.model is None


def test_gpus_and_missing_packages_are_said(monkeypatch):
    assert OnnxRuntime().missing(torch.device("cuda")) == "onnxruntime is measured on the CPU alone; write device cpu"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert OnnxRuntime().missing(torch.device("cpu")).endswith("install hf-compress[export]")
