"""What every merge promises, whichever the method: the same bytes, resumable, and nothing damaged goes in unnoticed."""

import dataclasses
import json

import pytest
import torch
from safetensors.torch import save_file

from hf_compress import CompressionError
from hf_compress.calibration.statistic import Statistic
from hf_compress.checkpoints.hashes import sha256_of
from hf_compress.checkpoints.source import open_source
from hf_compress.merging import operands as operands_module
from hf_compress.merging.configuration import Member, Merge
from hf_compress.merging.engine import engine as engine_module
from hf_compress.merging.engine import run as merge_module
from hf_compress.merging.engine.run import merge_checkpoints
from hf_compress.merging.method import MergeMethod
from tests.calibration.seen import statistic_like
from tests.content import content_hash

METHODS = [pytest.param(cls, id=name) for name, cls in MergeMethod.available().items()]
SEVERAL_INPUTS = [each for each in METHODS if each.values[0].needs_base or each.values[0].num_members[1] != 1]
SHAPES = {
    "embed.weight": (40, 12),
    "layers.0.norm.weight": (12,),
    "layers.0.q.weight": (24, 12),
    "layers.1.q.weight": (24, 12),
}
LABELS = ("ada", "bob", "cyd")


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch):
    """The tensors here have several chunks each."""
    for module in (operands_module, engine_module):
        monkeypatch.setattr(module, "CHUNK", 50)


def write(folder, seed, change=lambda tensors: None, near=None):
    """A checkpoint in two files, each tensor near that of the seed `near`."""
    generator = torch.Generator().manual_seed(seed)
    origin = torch.Generator().manual_seed(99)
    tensors = {
        name: torch.randn(shape, generator=origin) + 0.1 * torch.randn(shape, generator=generator)
        for name, shape in SHAPES.items()
    }
    change(tensors)
    save(folder, tensors)


def save(folder, tensors):
    folder.mkdir(parents=True, exist_ok=True)
    files = {name: f"model-0000{1 + number // 2}-of-00002.safetensors" for number, name in enumerate(sorted(tensors))}
    for file in set(files.values()):
        save_file(
            {name: tensors[name] for name in tensors if files[name] == file}, folder / file, metadata={"format": "pt"}
        )
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": files}))
    (folder / "config.json").write_text('{"model_type": "made up"}')


def write_statistics(folder, kind, seed, change=lambda tensors: None):
    generator = torch.Generator().manual_seed(seed)
    per_weight = Statistic.available()[kind].shape == "(O, I)"
    names = [name for name in SHAPES if per_weight or "q.weight" in name]
    tensors = {name: statistic_like(kind, SHAPES[name], generator) for name in names}
    change(tensors)
    save(folder, tensors)


def job(cls, folder, **changes):
    """A merge by the method, everything it needs written into `folder` unless it is there."""
    least, most = cls.num_members
    labels = LABELS[: max(least, min(len(LABELS), most or len(LABELS)))]
    needs_base = cls.needs_base
    for seed, label in enumerate(["base"] * needs_base + list(labels)):
        if not (folder / label).exists():
            write(folder / label, seed)
    statistics = {label: {need: str(folder / f"{label}-{need}") for need in sorted(cls.needs)} for label in labels}
    for seed, label in enumerate(labels):
        for need in statistics[label]:
            if not (folder / f"{label}-{need}").exists():
                write_statistics(folder / f"{label}-{need}", need, seed)
    members = [Member(str(folder / label), statistics=statistics[label]) for label in labels]
    return Merge(method=cls(), members=members, base=str(folder / "base") if needs_base else None, **changes)


def files_of(folder):
    return {file.name: sha256_of(file) for file in folder.glob("*.safetensors")}


@pytest.mark.parametrize("cls", METHODS)
def test_the_same_bytes_whatever_the_threads_and_the_same_tensors_whatever_the_files(cls, tmp_path):
    merge = job(cls, tmp_path)
    found = []
    for threads in (1, 2, 5):
        merge_checkpoints(merge, tmp_path / f"out-{threads}", threads=threads)
        found.append(files_of(tmp_path / f"out-{threads}"))
    assert found[0] == found[1] == found[2] and len(found[0]) == 1
    for size in ("1KB", "3KB"):
        merge_checkpoints(dataclasses.replace(merge, max_shard_size=size), tmp_path / size)
        assert len(files_of(tmp_path / size)) > 1
    hashes = {content_hash(open_source(tmp_path / name, name)) for name in ("out-1", "1KB", "3KB")}
    assert len(hashes) == 1


@pytest.mark.parametrize("cls", METHODS)
def test_another_seed_gives_another_result_only_where_numbers_are_drawn(cls, tmp_path):
    merge = job(cls, tmp_path)
    for seed in (0, 1):
        merge_checkpoints(dataclasses.replace(merge, seed=seed), tmp_path / f"out-{seed}")
    same = len({content_hash(open_source(tmp_path / f"out-{seed}", "out")) for seed in (0, 1)}) == 1
    assert same == (not cls.draws)
    # The seed is part of the provenance, so the files differ anyway.
    assert files_of(tmp_path / "out-0") != files_of(tmp_path / "out-1")


@pytest.mark.parametrize("cls", METHODS)
def test_stopped_by_the_user_and_started_again_ends_in_the_same_files(cls, tmp_path, monkeypatch):
    merge = job(cls, tmp_path, max_shard_size="1KB")
    merge_checkpoints(merge, tmp_path / "straight")
    write_journal = merge_module._write_journal

    def journal(part, job, finished):
        write_journal(part, job, finished)
        if len(finished) == 2:
            raise KeyboardInterrupt

    monkeypatch.setattr(merge_module, "_write_journal", journal)
    with pytest.raises(KeyboardInterrupt):
        merge_checkpoints(merge, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    for module in (operands_module, engine_module):
        monkeypatch.setattr(module, "CHUNK", 50)
    assert merge_checkpoints(merge, tmp_path / "out").resumed >= 2
    assert files_of(tmp_path / "out") == files_of(tmp_path / "straight")


@pytest.mark.parametrize("cls", METHODS)
def test_what_is_not_finite_is_named_wherever_it_stands(cls, tmp_path):
    merge = job(cls, tmp_path)
    name = "layers.0.q.weight"
    places = ["base"] * (merge.base is not None) + [merge.members[0].model, merge.members[-1].model]
    places += [merge.members[-1].statistics[need] for need in cls.needs]
    for place in dict.fromkeys(places):
        folder = tmp_path / place
        whole = {file.name: file.read_bytes() for file in folder.iterdir()}
        for value, position in ((float("nan"), 0), (float("inf"), -1), (float("-inf"), 0)):
            source = open_source(folder, "input")
            tensors = {each: source.read(each).clone() for each in source.infos}
            tensors[name].view(-1)[position] = value
            save(folder, tensors)
            with pytest.raises(CompressionError) as caught:
                merge_checkpoints(merge, tmp_path / "out")
            said = str(caught.value)
            assert said.startswith(f"{name} of ") and "holds NaN or infinity" in said and str(folder) in said, said
            assert not (tmp_path / "out").exists() and not (tmp_path / ".out.part").exists()
            for file, content in whole.items():
                (folder / file).write_bytes(content)
    merge_checkpoints(merge, tmp_path / "out")


@pytest.mark.parametrize("cls", METHODS)
def test_sixteen_bit_inputs_are_merged_in_fp32_and_stored_as_they_came(cls, tmp_path):
    """Each element within half a unit of the last place of what fp32 copies of the same values give."""
    for dtype in (torch.bfloat16, torch.float32):
        folder = tmp_path / str(dtype)
        merge = job(cls, folder)
        for place in [merge.base, *(member.model for member in merge.members)]:
            if place is not None:
                source = open_source(folder / place, "input")
                save(folder / place, {each: source.read(each).bfloat16().to(dtype) for each in source.infos})
        merge_checkpoints(merge, folder / "out")
    narrow, wide = (open_source(tmp_path / str(dtype) / "out", "out") for dtype in (torch.bfloat16, torch.float32))
    for each in SHAPES:
        assert torch.equal(narrow.read(each), wide.read(each).bfloat16()), each


@pytest.mark.parametrize("cls", SEVERAL_INPUTS)
def test_a_tensor_that_only_one_input_has_stops_the_job(cls, tmp_path):
    merge = job(cls, tmp_path)
    places = [tmp_path / "base"] * (merge.base is not None) + [tmp_path / merge.members[-1].model]
    for place in places:
        source = open_source(place, "input")
        tensors = {each: source.read(each).clone() for each in source.infos}
        for extra in (torch.ones(3), torch.ones(3, dtype=torch.int64)):
            save(place, {**tensors, "zz.extra": extra})
            with pytest.raises(CompressionError, match=r"has no tensor zz.extra, which .* has; exclude it, or write take"):
                merge_checkpoints(merge, tmp_path / "out")
        save(place, tensors)
    assert not (tmp_path / "out").exists()
