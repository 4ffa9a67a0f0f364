"""From two folders to one report."""

import pytest
import torch

from hf_compress import Quantization, quantize, save_compressed, save_dense
from hf_compress._errors import CompressionError
from hf_compress.evaluation.cost.configuration import Cost
from hf_compress.evaluation.cost.measure import measure_cost
from hf_compress.evaluation.cost.runtimes.compile import Compile
from tests.tiny import tiny_llama, tiny_vit

FEW = {"batch": (1, 2), "length": (4, 8), "rounds": 6, "warmup": 0, "new_tokens": 2, "memory": False, "device": "cpu"}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cost")
    model = tiny_llama()
    save_dense(model, folder / "dense")
    quantize(model, Quantization(scheme="W8A8"))
    save_compressed(model, folder / "int8")
    return folder


def test_a_model_and_its_baseline_take_turns_over_batches_and_lengths(folders):
    report = measure_cost(folders / "int8", folders / "dense", cost=Cost(**FEW))
    assert [model.name for model in report.models] == ["dense", "int8"]
    assert [(one.what, one.shape, one.model) for one in report.timings] == [
        (what, f"{rows} x {length}", name)
        for rows in (1, 2)
        for length in (4, 8)
        for what in ("forward", "first token", "next token")
        for name in ("dense", "int8")
    ]
    assert all((one.speedup is None) == (one.model == "dense") for one in report.timings)
    assert [one.parameters["total"] for one in report.models] == [tiny_llama().num_parameters()] * 2
    assert report.models[0].storage["bits_per_weight"] == 32 > report.models[1].storage["bits_per_weight"]
    assert report.models[0].macs == report.models[1].macs
    assert list(report.models[0].macs) == ["1 x 4", "1 x 8", "2 x 4", "2 x 8"]
    assert report.remarks[0].startswith("int8 is packed")


def test_an_image_model_is_measured_in_the_size_that_its_config_fixes(tmp_path):
    save_dense(tiny_vit(), tmp_path / "vit")
    report = measure_cost(tmp_path / "vit", cost=Cost(**{**FEW, "length": ()}))
    assert [(one.what, one.batch) for one in report.timings] == [("forward", 1), ("forward", 2)]
    with pytest.raises(CompressionError, match="length: the model's config fixes the shape"):
        measure_cost(tmp_path / "vit", cost=Cost(**FEW))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        (
            {"length": (64,)},
            "length=64 and 2 new_tokens behind it are more than the model's 64 positions; write a length of at most 62, or",
        ),
        ({"device": "cuda"}, "device='cuda': this machine has no GPU"),
        ({"runtimes": (Compile(),)}, "runtimes: torch.compile needs a C\\+\\+ compiler"),
    ],
)
def test_what_cannot_be_measured_is_refused_before_anything_is_timed(folders, changes, says, monkeypatch):
    monkeypatch.setattr("hf_compress.evaluation.cost.measure.time_models", None)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(CompressionError, match=says):
        measure_cost(folders / "dense", cost=Cost(**{**FEW, **changes}))


def test_a_head_that_nobody_knows_is_asked_for(tmp_path):
    save_dense(tiny_llama().model, tmp_path / "body")
    with pytest.raises(CompressionError, match="does not say what its head 'LlamaModel' is for; name the task"):
        measure_cost(tmp_path / "body", cost=Cost(**FEW))
