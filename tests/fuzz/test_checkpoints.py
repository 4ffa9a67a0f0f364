"""Damaged checkpoints, adapters and statistics end in a sentence or merge: no traceback, nothing slow, nothing run."""

import random
import shutil
import sys

import pytest
from safetensors.torch import load_file, save_file

from hf_compress.export.formats.compressed_tensors import save_compressed
from hf_compress.export.merged import merge
from hf_compress.merging.configuration import Member, Merge
from hf_compress.merging.methods.fisher import Fisher
from hf_compress.merging.methods.linear import Linear
from hf_compress.merging.methods.ties import Ties
from hf_compress.quantization.configuration import Quantization
from hf_compress.quantization.ptq import quantize
from hf_compress.quantization.scheme import Scheme
from tests.fuzz.judge import Judge, no_progress_bars
from tests.fuzz.mutations import mutate_bytes, mutate_header, mutate_json
from tests.merging.adapters import make_adapter
from tests.small import write_model
from tests.tiny import tiny_llama

SCHEMES = {"packed": ("W4A16", 16), "integers": ("W8A8", None)}


def write_inputs(folder):
    """One of every kind of input that a merge reads, all of one small model."""
    write_model(folder / "good", tiny_llama(1))
    write_model(folder / "dense")
    tiny_llama().save_pretrained(folder / "sharded", max_shard_size="40KB")
    for name, (scheme, size) in SCHEMES.items():
        model = tiny_llama()
        quantize(model, Quantization(scheme=Scheme.create(scheme, group_size=size)))
        save_compressed(model, folder / name)
    make_adapter(tiny_llama(), folder / "adapter", target_modules=["q_proj", "v_proj"])
    (folder / "statistics").mkdir()
    weights = load_file(folder / "dense" / "model.safetensors")
    save_file({name: value.square() for name, value in weights.items()}, folder / "statistics" / "model.safetensors")


def job_of(folder, kind):
    """A merge that reads the input of this kind beside a good one."""
    good, damaged = str(folder / "good"), str(folder / "damaged")
    if kind == "adapter":
        return Merge(method=Linear(), members=(Member(good, name="a"), Member(good, name="b", adapter=damaged)))
    if kind == "statistics":
        sound = str(folder / "statistics")
        members = (
            Member(good, name="a", statistics={"fisher": sound}),
            Member(good, name="b", statistics={"fisher": damaged}),
        )
        return Merge(method=Fisher(), members=members)
    if kind in SCHEMES:
        return Merge(method=Linear(), members=(Member(good, name="a"), Member(damaged, name="b")), quantized="dense")
    return Merge(method=Ties(density=0.5), base=good, members=(Member(good, name="a"), Member(damaged, name="b")))


def damage(folder, kind, generator):
    """A copy of an input with one of its files damaged."""
    damaged = folder / "damaged"
    shutil.rmtree(damaged, ignore_errors=True)
    shutil.copytree(folder / kind, damaged)
    files = sorted(damaged.iterdir())
    # Weights and config.json hold most of what a merge reads.
    often = [file for file in files if file.suffix == ".safetensors" or file.name in ("config.json", "adapter_config.json")]
    file = generator.choice(often * 3 + files)
    content = file.read_bytes()
    if file.suffix == ".safetensors":
        file.write_bytes(mutate_header(content, generator))
    elif file.suffix == ".json":
        file.write_bytes(mutate_json(content, generator))
    else:
        file.write_bytes(mutate_bytes(content, generator))


def fuzz(folder, number, seed):
    """So many damaged inputs, each merged, judged."""
    write_inputs(folder)
    kinds = ["dense", "sharded", *SCHEMES, "adapter", "statistics"]
    judge = Judge()
    with no_progress_bars():
        for case in range(number):
            generator = random.Random(f"{seed}-{case}")
            kind = generator.choice(kinds)
            damage(folder, kind, generator)
            for left in folder.glob("*out*"):
                shutil.rmtree(left, ignore_errors=True)
            judge(case, lambda kind=kind: merge(job_of(folder, kind), folder / "out", threads=1))
    return judge


def test_some_damaged_inputs_merge_or_are_a_sentence(tmp_path):
    judge = fuzz(tmp_path, 60, seed=1)
    assert judge.wrong == []
    assert min(judge.counts["accepted"], judge.counts["refused"]) > 0


@pytest.mark.slow
def test_ten_thousand_damaged_inputs_merge_or_are_a_sentence(tmp_path, capsys):
    judge = fuzz(tmp_path, 10_000, seed=2)
    with capsys.disabled():
        sys.stdout.write(f"\nheaders and configs {judge.summary()}\n")
    assert judge.wrong == []
