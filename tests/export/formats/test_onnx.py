"""ONNX, run by ONNX Runtime."""

import json
from pathlib import Path

import pytest
import torch

from hf_compress import Constant, Pruning, Quantization, prune, quantize
from hf_compress._errors import CompressionError
from hf_compress.checkpoints.exported import compare_exported, load_exported, missing_packages
from hf_compress.export.formats.onnx import OnnxFormat
from tests.tiny import tiny_bert, tiny_llama

FORM = OnnxFormat()
installed = pytest.mark.skipif(bool(missing_packages("onnx")), reason=missing_packages("onnx"))


@pytest.fixture(scope="module")
def model():
    model = tiny_bert().eval()
    prune(model, Pruning(schedule=Constant(final=0.5)))
    return model


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    return FORM.save(model, tmp_path_factory.mktemp("onnx") / "model")


@installed
def test_onnx_runtime_alone_gives_the_model_s_numbers_in_shapes_that_were_never_traced(model, folder):
    import onnxruntime

    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    for rows, length in ((1, 1), (4, 19)):
        ids = torch.randint(3, 60, (rows, length), generator=torch.Generator().manual_seed(rows))
        mask = torch.ones_like(ids)
        mask[-1, length // 2 + 1 :] = 0
        feed = {"input_ids": ids.numpy(), "attention_mask": mask.numpy()}
        (logits,) = session.run(None, {one.name: feed[one.name] for one in session.get_inputs()})
        with torch.no_grad():
            wanted = model(input_ids=ids, attention_mask=mask).logits
        torch.testing.assert_close(
            torch.from_numpy(logits), wanted, rtol=0, atol=FORM.tolerance * wanted.abs().max().item()
        )


@installed
def test_pruned_weights_are_zero_in_the_graph_too(model, folder):
    import onnx

    graph = onnx.load(folder / "model.onnx").graph
    pruned = model.bert.encoder.layer[0].intermediate.dense.weight
    stored = [onnx.numpy_helper.to_array(one) for one in graph.initializer]
    assert any(one.size == pruned.numel() and (one == 0).sum() == pruned.numel() // 2 for one in stored)


@installed
def test_it_is_measured_like_the_model_and_generates_nothing(model, folder):
    loaded = FORM.load(type(model), folder)
    batch = {"input_ids": torch.tensor([[5, 6, 7], [8, 9, 3]]), "labels": torch.tensor([2, 0])}
    with torch.no_grad():
        assert loaded(**batch).loss == pytest.approx(model(**batch).loss.item(), rel=1e-5)
    assert type(loaded).__name__ == type(model).__name__
    with pytest.raises(CompressionError, match="writes no text"):
        loaded.generate(batch["input_ids"])


@installed
def test_a_program_that_is_not_the_model_is_refused_by_name(model, folder):
    other = tiny_bert(seed=1).eval()
    with pytest.raises(CompressionError, match="logits of the exported program differ from the model's by"):
        compare_exported(other, load_exported(folder), folder)


@installed
def test_the_file_names_no_path_of_this_machine(folder):
    content = (folder / "model.onnx").read_bytes()
    assert b"stack_trace" not in content and b"site-packages" not in content and str(Path.cwd()).encode() not in content


@pytest.mark.skipif(not missing_packages("onnx"), reason="the packages are installed")
def test_missing_packages_are_said_with_the_extra(tmp_path):
    with pytest.raises(CompressionError, match="onnx needs .*; install hf-compress.export."):
        FORM.save(tiny_bert(), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda model: quantize(model, Quantization(scheme="W8A8")), "q_proj is quantized, and exporters"),
        (lambda model: model.bfloat16(), "stored in bfloat16, .*write it with dtype: float32"),
    ],
)
def test_what_no_exporter_takes_is_refused_and_nothing_is_left(change, says, tmp_path, monkeypatch):
    monkeypatch.setattr("hf_compress.checkpoints.exported.missing_packages", lambda backend: "")
    model = tiny_llama()
    change(model)
    with pytest.raises(CompressionError, match=says):
        FORM.save(model, tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_of_something_else_is_refused(tmp_path):
    with pytest.raises(CompressionError, match="holds no exported program"):
        load_exported(tmp_path)
    (tmp_path / "export.json").write_text(json.dumps({"export_format": "dynamo"}))
    with pytest.raises(CompressionError, match="exported for 'dynamo', which nothing here loads"):
        load_exported(tmp_path)
