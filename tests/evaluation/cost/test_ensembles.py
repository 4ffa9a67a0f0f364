"""What an ensemble costs is the sum of the members that are asked."""

import pytest
import torch

from hf_compress import Cascade, CompressionError, ParallelEnsemble, build_stacking
from hf_compress.checkpoints.manifest import Manifest
from hf_compress.evaluation.cost.configuration import Cost
from hf_compress.evaluation.cost.measure import measure_cost
from tests.ensembling.folders import saved, texts

FEW = Cost(batch=(2,), length=(4,), rounds=6, warmup=0, memory=False, device="cpu")


@pytest.fixture(scope="module")
def members(tmp_path_factory):
    folder = tmp_path_factory.mktemp("members")
    return saved(*texts(), folder)


def test_a_parallel_one_is_the_sum_of_its_members(members, tmp_path):
    ParallelEnsemble.from_members(members).save_pretrained(tmp_path / "both")
    (both,), (one,) = (measure_cost(folder, cost=FEW).models for folder in (tmp_path / "both", members[0]))
    assert both.macs == {shape: 2 * macs for shape, macs in one.macs.items()}
    assert both.storage["file_bytes"] == 2 * one.storage["file_bytes"] and both.storage["bits_per_weight"] == 32
    assert both.storage["by_kind"] == {kind: 2 * size for kind, size in one.storage["by_kind"].items()}
    assert both.parameters["total"] == 2 * one.parameters["total"]


def test_what_stands_above_members_counts_too(members, tmp_path):
    logits, labels = torch.randn(2, 9, 3, generator=torch.Generator().manual_seed(0)), torch.arange(9) % 3
    build_stacking(members, logits, labels)[0].save_pretrained(tmp_path / "stacked")
    (model,) = measure_cost(tmp_path / "stacked", cost=FEW).models
    own = (tmp_path / "stacked" / "ensemble.safetensors").stat().st_size
    assert model.storage["by_kind"]["above the members"] == own
    with pytest.raises(CompressionError, match="length=65 is more than the model's 64 positions"):
        measure_cost(tmp_path / "stacked", cost=Cost(length=(65,), memory=False))


def test_a_cascade_is_counted_by_the_shares_of_its_rows(members, tmp_path):
    Cascade.from_members(members, thresholds=[0.5]).save_pretrained(tmp_path / "cascade")
    (one,) = measure_cost(members[0], cost=FEW).models
    report = measure_cost(tmp_path / "cascade", cost=FEW)
    assert report.models[0].macs == {shape: 2 * macs for shape, macs in one.macs.items()}
    assert "rows that reach the last stage" in report.remarks[0]
    facts = {"report": {"stages": [{"test": 0.75}, {"test": 0.25}]}}
    Manifest(kind="ensemble", name="x", recipe={}, facts=facts).write(tmp_path / "cascade")
    report = measure_cost(tmp_path / "cascade", cost=FEW)
    assert report.models[0].macs == {shape: macs + macs // 4 for shape, macs in one.macs.items()}
    assert "its test rows, as compression.json has them" in report.remarks[0]
