"""The exported graph, timed."""

import pytest
import torch

from hf_compress.checkpoints.exported import missing_packages
from hf_compress.evaluation.cost.batches import batch_of
from hf_compress.evaluation.cost.runtimes.openvino import OpenVino
from tests.tiny import tiny_vit


@pytest.mark.skipif(bool(missing_packages("openvino")), reason=missing_packages("openvino"))
def test_it_computes_what_the_model_does():
    model = tiny_vit().eval()
    batch = batch_of(model, 4, None)
    prepared = OpenVino().prepare(model, batch)
    with torch.no_grad():
        torch.testing.assert_close(prepared.call(batch).logits, model(**batch).logits, rtol=1e-4, atol=1e-5)  # fp32 sums
    assert prepared.model is None


def test_gpus_and_missing_packages_are_said(monkeypatch):
    assert OpenVino().missing(torch.device("cuda")) == "openvino is measured on the CPU alone; write device cpu"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert OpenVino().missing(torch.device("cpu")).endswith("install hf-compress[export]")
