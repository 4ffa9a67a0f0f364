"""The whole job: same bytes, resume, refusals that leave nothing behind."""

import dataclasses
import errno
import json
import os
import subprocess
import sys
import time

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from hf_compress import CompressionError
from hf_compress.checkpoints.hashes import sha256_of
from hf_compress.checkpoints.source import open_source
from hf_compress.checkpoints.writer import parse_size
from hf_compress.merging.configuration import Member, Merge
from hf_compress.merging.engine import run as merge_module
from hf_compress.merging.engine.run import merge_checkpoints
from hf_compress.merging.lora.apply import apply_adapters
from hf_compress.merging.methods.linear import Linear
from hf_compress.merging.methods.slerp import Slerp
from hf_compress.merging.methods.task_arithmetic import TaskArithmetic
from tests.content import content_hash
from tests.merging.adapters import make_adapter
from tests.merging.zoo import make
from tests.tiny import tiny_llama


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Three Llama checkpoints, a, b and c."""
    folder = tmp_path_factory.mktemp("models")
    for seed, name in enumerate("abc"):
        make("Llama", seed).save_pretrained(folder / name)
    return folder


def pair(models, **changes):
    return Merge(members=[Member(str(models / "a")), Member(str(models / "b"))], **changes)


def edit(models, tmp_path, change, name="broken"):
    """A copy of checkpoint b with its tensors changed."""
    make("Llama", 1).save_pretrained(tmp_path / name)
    tensors = load_file(tmp_path / name / "model.safetensors")
    change(tensors)
    save_file(tensors, tmp_path / name / "model.safetensors", metadata={"format": "pt"})
    return tmp_path / name


def test_the_same_merge_gives_the_same_file_whatever_the_threads(models, tmp_path):
    digests = set()
    for threads in (1, 2, 7):
        merge_checkpoints(pair(models, method=Slerp(t=0.3)), tmp_path / f"out{threads}", threads=threads)
        digests.add(sha256_of(tmp_path / f"out{threads}" / "model.safetensors"))
    assert len(digests) == 1


def test_the_same_merge_gives_the_same_tensors_whatever_the_shard_size(models, tmp_path):
    hashes = set()
    for size in ("5GB", "40KB", "1KB"):
        merge_checkpoints(pair(models, max_shard_size=size), tmp_path / size)
        hashes.add(content_hash(open_source(tmp_path / size, "out")))
    assert len(hashes) == 1
    files = sorted((tmp_path / "40KB").glob("*.safetensors"))
    assert len(files) > 1
    index = json.loads((tmp_path / "40KB" / "model.safetensors.index.json").read_text())
    stored = {name: file.name for file in files for name in safe_open(file, "pt").keys()}  # noqa: SIM118
    assert index["weight_map"] == stored


def test_members_in_another_order_of_files_give_the_same_tensors(models, tmp_path):
    model = make("Llama", 0)
    model.save_pretrained(tmp_path / "sharded", max_shard_size="30KB")
    assert len(list((tmp_path / "sharded").glob("*.safetensors"))) > 1
    merge_checkpoints(pair(models), tmp_path / "one")
    job = Merge(members=[Member(str(tmp_path / "sharded")), Member(str(models / "b"))])
    merge_checkpoints(job, tmp_path / "many")
    assert content_hash(open_source(tmp_path / "one", "x")) == content_hash(open_source(tmp_path / "many", "x"))


def test_bin_checkpoints_merge_like_safetensors(models, tmp_path):
    (tmp_path / "bin").mkdir()
    torch.save(load_file(models / "a" / "model.safetensors"), tmp_path / "bin" / "pytorch_model.bin")
    (tmp_path / "bin" / "config.json").write_text((models / "a" / "config.json").read_text())
    merge_checkpoints(pair(models), tmp_path / "one")
    merge_checkpoints(Merge(members=[Member(str(tmp_path / "bin")), Member(str(models / "b"))]), tmp_path / "two")
    assert content_hash(open_source(tmp_path / "one", "x")) == content_hash(open_source(tmp_path / "two", "x"))


def test_a_bin_file_with_objects_is_refused_and_not_run(models, tmp_path):
    (tmp_path / "bin").mkdir()
    torch.save({"weight": print}, tmp_path / "bin" / "pytorch_model.bin")
    with pytest.raises(CompressionError, match=r"cannot be loaded as weights only: .* have to be run") as caught:
        merge_checkpoints(Merge(members=[Member(str(tmp_path / "bin")), Member(str(models / "b"))]), tmp_path / "out")
    assert "weights_only" not in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_the_header_says_what_went_in(models, tmp_path):
    result = merge_checkpoints(pair(models, seed=5), tmp_path / "out")
    with safe_open(tmp_path / "out" / "model.safetensors", "pt") as file:
        made = json.loads(file.metadata()["hf_compress"])
    assert made["inputs"] == result.inputs
    assert made["inputs"]["a"] == {"model.safetensors": sha256_of(models / "a" / "model.safetensors")}
    assert made["merge"]["seed"] == 5
    assert made["merge"]["members"] == [{"model": "./a", "name": "a"}, {"model": "./b", "name": "b"}]
    assert str(models) not in json.dumps(made)


def test_bf16_is_merged_in_fp32_and_rounded_once(tmp_path):
    for seed, name in enumerate("ab"):
        make("Llama", seed, torch.bfloat16).save_pretrained(tmp_path / name)
    job = Merge(members=[Member(str(tmp_path / "a"), weight=0.3), Member(str(tmp_path / "b"), weight=0.7)])
    merge_checkpoints(job, tmp_path / "out")
    a, b, out = (load_file(tmp_path / name / "model.safetensors") for name in ("a", "b", "out"))
    for name, tensor in out.items():
        exact = a[name].double() * 0.3 + b[name].double() * 0.7
        assert tensor.dtype is torch.bfloat16
        # Rounded once: half a unit in the last of 8 significant bits; sums in bf16 would be off by twice that and more.
        assert ((tensor.double() - exact).abs() <= exact.abs() * 2**-8 * 1.001 + 1e-6).all(), name


def test_the_stored_type_can_be_chosen(models, tmp_path):
    merge_checkpoints(pair(models, dtype="float16"), tmp_path / "out")
    assert {tensor.dtype for tensor in load_file(tmp_path / "out" / "model.safetensors").values()} == {torch.float16}
    assert json.loads((tmp_path / "out" / "config.json").read_text())["dtype"] == "float16"


def test_take_and_exclude_are_rules_that_account(models, tmp_path):
    job = pair(models, take={"model.norm.weight": str(models / "b")}, exclude=("lm_head.weight",))
    with pytest.raises(CompressionError, match=r"lacks lm_head.weight"):
        merge_checkpoints(job, tmp_path / "out")
    job = pair(models, take={"re:.*norm.*": str(models / "b")})
    result = merge_checkpoints(job, tmp_path / "taken")
    out, b = load_file(tmp_path / "taken" / "model.safetensors"), load_file(models / "b" / "model.safetensors")
    norms = [name for name in out if "norm" in name]
    assert result.account.counts() == {"merged": len(out) - len(norms), "copied": len(norms), "excluded": len(norms)}
    assert all(torch.equal(out[name], b[name]) for name in norms)


def test_an_interrupted_merge_goes_on_and_ends_with_the_same_files(models, tmp_path):
    """Killed by SIGKILL in the middle, in another process."""
    code = (
        "import os, sys, hf_compress.merging.engine.run as merge\n"
        "from hf_compress.merging.configuration import Member, Merge\n"
        "write = merge._write_journal\n"
        "def journal(part, fingerprint, finished):\n"
        "    write(part, fingerprint, finished)\n"
        "    if len(finished) == 2: os.kill(os.getpid(), 9)\n"
        "merge._write_journal = journal\n"
        "job = Merge(members=[Member(sys.argv[1]), Member(sys.argv[2])], max_shard_size='20KB')\n"
        "merge.merge_checkpoints(job, sys.argv[3])\n"
    )
    a, b = str(models / "a"), str(models / "b")
    killed = subprocess.run([sys.executable, "-c", code, a, b, str(tmp_path / "out")], capture_output=True)
    assert killed.returncode == -9 and not (tmp_path / "out").exists()
    part = tmp_path / ".out.part"
    before = {file.name: file.stat().st_mtime_ns for file in part.glob("*.safetensors")}
    time.sleep(0.01)
    result = merge_checkpoints(pair(models, max_shard_size="20KB"), tmp_path / "out")
    assert result.resumed == 2
    kept = [name for name, at in before.items() if (tmp_path / "out" / name).stat().st_mtime_ns == at]
    assert len(kept) == 2
    merge_checkpoints(pair(models, max_shard_size="20KB"), tmp_path / "straight")
    for file in (tmp_path / "straight").glob("*.safetensors"):
        assert sha256_of(file) == sha256_of(tmp_path / "out" / file.name)
    assert not part.exists()


def interrupt(monkeypatch, finished):
    """The next merge stops behind so many files."""
    write_journal = merge_module._write_journal

    def journal(part, job, done):
        write_journal(part, job, done)
        if len(done) == finished:
            raise KeyboardInterrupt

    monkeypatch.setattr(merge_module, "_write_journal", journal)


@pytest.mark.parametrize("what", ["weights", "config", "parameters"])
def test_an_interrupted_merge_starts_anew_where_what_goes_in_has_changed(what, models, tmp_path, monkeypatch):
    changed = edit(models, tmp_path, lambda tensors: None, name="b")
    job = Merge(members=[Member(str(models / "a"), name="a"), Member(str(changed), name="b")], max_shard_size="20KB")
    interrupt(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        merge_checkpoints(job, tmp_path / "out")
    monkeypatch.undo()
    if what == "weights":
        edit(models, tmp_path, lambda tensors: tensors["lm_head.weight"].mul_(2), name="b")
    elif what == "config":
        settings = json.loads((changed / "config.json").read_text())
        (changed / "config.json").write_text(json.dumps({**settings, "rms_norm_eps": 0.5}))
    else:
        job = dataclasses.replace(job, method=Linear(normalize=False))
    result = merge_checkpoints(job, tmp_path / "out")
    assert result.resumed == 0
    straight = merge_checkpoints(job, tmp_path / "straight").folder
    for file in straight.glob("*.safetensors"):
        assert sha256_of(file) == sha256_of(tmp_path / "out" / file.name)


def test_what_another_merge_left_is_not_used(models, tmp_path):
    part = tmp_path / ".out.part"
    part.mkdir()
    (part / ".merge-journal.json").write_text(json.dumps({"fingerprint": "other", "finished": ["model.safetensors"]}))
    (part / "model.safetensors").write_text("rubbish")
    assert merge_checkpoints(pair(models), tmp_path / "out").resumed == 0
    load_file(tmp_path / "out" / "model.safetensors")


def refusal(job, out, text):
    """The sentence, and proof that nothing was left."""
    with pytest.raises(CompressionError, match=text) as caught:
        merge_checkpoints(job, out)
    assert not out.exists()
    if "the disk is full" not in text:
        assert not list(out.parent.glob(".*.part"))
    return str(caught.value)


def test_a_tensor_that_one_member_lacks_names_both(models, tmp_path):
    broken = edit(models, tmp_path, lambda tensors: tensors.pop("model.layers.1.mlp.up_proj.weight"))
    job = Merge(members=[Member(str(models / "a"), name="a"), Member(str(broken), name="b")])
    text = refusal(job, tmp_path / "out", r"b \(.*broken\) has no tensor model.layers.1.mlp.up_proj.weight, which a \(")
    assert "exclude it" in text


def test_another_shape_names_tensor_shapes_and_files(models, tmp_path):
    def cut(tensors):
        tensors["lm_head.weight"] = tensors["lm_head.weight"][:60].clone()

    job = Merge(members=[Member(str(models / "a")), Member(str(edit(models, tmp_path, cut)))])
    refusal(job, tmp_path / "out", r"lm_head.weight has shape \[64, 32\] in a \(.*/a\) and \[60, 32\] in .*/broken")


def test_all_differences_are_said_at_once(models, tmp_path):
    def break_two(tensors):
        tensors["extra"] = torch.ones(2)
        tensors["model.norm.weight"] = torch.ones(3)

    text = refusal(
        Merge(members=[Member(str(models / "a")), Member(str(edit(models, tmp_path, break_two)))]),
        tmp_path / "out",
        "extra|norm",
    )
    assert "model.norm.weight has shape" in text


def test_integers_that_differ_are_refused_and_can_be_taken(tmp_path):
    for seed, name in enumerate("ab"):
        model = make("ResNet", seed)
        for buffer in model.buffers():
            if not buffer.is_floating_point():
                buffer.fill_(seed)
        model.save_pretrained(tmp_path / name)
    members = [Member(str(tmp_path / "a"), name="a"), Member(str(tmp_path / "b"), name="b")]
    refusal(Merge(members=members), tmp_path / "out", r"num_batches_tracked holds integers that differ between a .* and b")
    merge_checkpoints(Merge(members=members, take={"re:.*num_batches_tracked": "b"}), tmp_path / "out")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_names_the_tensor_and_the_member(models, tmp_path, value):
    def poison(tensors):
        tensors["model.layers.0.self_attn.q_proj.weight"][3, 3] = value

    job = Merge(members=[Member(str(models / "a")), Member(str(edit(models, tmp_path, poison)))])
    refusal(job, tmp_path / "out", r"model.layers.0.self_attn.q_proj.weight of .*broken.* holds NaN or infinity")


def test_a_config_that_does_not_fit_the_weights_is_named_with_both_shapes(models, tmp_path):
    make("Llama", 0).save_pretrained(tmp_path / "a")
    config = json.loads((tmp_path / "a" / "config.json").read_text())
    (tmp_path / "a" / "config.json").write_text(json.dumps({**config, "intermediate_size": 32}))
    job = Merge(members=[Member(str(tmp_path / "a")), Member(str(models / "b"))])
    refusal(job, tmp_path / "out", r"another shape for model.layers.0.mlp.down_proj.weight \(\[32, 64\], not \[32, 32\]\)")


def test_overflow_of_the_stored_type_is_refused(models, tmp_path):
    job = Merge(
        method=Linear(normalize=False),
        members=[Member(str(models / "a"), weight=1e5), Member(str(models / "b"))],
        dtype="float16",
    )
    refusal(job, tmp_path / "out", "merged values overflow float16")


def test_a_negative_variance_of_batch_norm_is_refused_with_the_way_out(tmp_path):
    for seed, name in enumerate("ab"):
        make("ResNet", seed).save_pretrained(tmp_path / name)
    members = [Member(str(tmp_path / "a"), name="a", weight=1.0), Member(str(tmp_path / "b"), name="b", weight=-2.0)]
    job = Merge(method=Linear(normalize=False), members=members)
    refusal(job, tmp_path / "out", r"running_var: the merged variance is negative in places")
    job = dataclasses.replace(job, take={"re:.*running_(mean|var)": "a"})
    assert merge_checkpoints(job, tmp_path / "out").loads.endswith("nothing unexpected")


@pytest.mark.parametrize("value", [3, [3], {}])
def test_a_config_that_is_none_is_named(models, tmp_path, value):
    folder = edit(models, tmp_path, lambda tensors: None)
    (folder / "config.json").write_text(json.dumps({"model_type": "llama", "architectures": value}))
    job = Merge(members=[Member(str(models / "a")), Member(str(folder))])
    refusal(job, tmp_path / "out", r"broken/config.json is not a configuration of a model \(architectures\)")


NESTED = {
    "cut off": ("[" * 100_000, "is not valid JSON"),
    "mappings": ('{"a":' * 100_000 + "1" + "}" * 100_000, "is not valid JSON|is nested more than 100 levels deep"),
    "deep": ('{"model_type": "llama", "a": ' + "[" * 200 + "]" * 200 + "}", "is nested more than 100 levels deep"),
}


@pytest.mark.parametrize("case", NESTED)
def test_a_config_that_is_nested_without_end_is_one_sentence(case, models, tmp_path):
    text, said = NESTED[case]
    folder = edit(models, tmp_path, lambda tensors: None)
    (folder / "config.json").write_text(text)
    job = Merge(members=[Member(str(models / "a")), Member(str(folder))])
    refusal(job, tmp_path / "out", rf"broken/config\.json ({said})")


def test_a_truncated_file_is_named(models, tmp_path):
    make("Llama", 1).save_pretrained(tmp_path / "short")
    file = tmp_path / "short" / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-100])
    job = Merge(members=[Member(str(models / "a")), Member(str(tmp_path / "short"))])
    refusal(job, tmp_path / "out", r"short/model.safetensors is truncated: .* ends after the file")
    file.write_bytes(b"\x00" * 4)
    refusal(job, tmp_path / "out", r"short/model.safetensors is truncated: its header is cut off")


@pytest.mark.parametrize("part", ["link", "files"])
def test_a_part_folder_that_no_merge_wrote_is_left_as_it_is(part, models, tmp_path):
    mine = tmp_path / ("outside" if part == "link" else ".out.part")
    mine.mkdir()
    (mine / "thesis").write_text("mine")
    if part == "link":
        (tmp_path / ".out.part").symlink_to(mine)
    with pytest.raises(CompressionError) as caught:
        merge_checkpoints(pair(models), tmp_path / "out")
    expected = "part is a symbolic link to" if part == "link" else "part holds files that no merge wrote, first thesis"
    assert expected in str(caught.value)
    assert [file.name for file in mine.iterdir()] == ["thesis"] and not (tmp_path / "out").exists()


def test_a_link_among_the_finished_files_is_not_taken_for_one(models, tmp_path, monkeypatch):
    job = pair(models, max_shard_size="20KB")
    interrupt(monkeypatch, 3)
    with pytest.raises(KeyboardInterrupt):
        merge_checkpoints(job, tmp_path / "out")
    monkeypatch.undo()
    first = sorted((tmp_path / ".out.part").glob("*.safetensors"))[0]
    first.rename(tmp_path / "elsewhere")
    first.symlink_to(tmp_path / "elsewhere")
    before = (tmp_path / "elsewhere").read_bytes()
    merge_checkpoints(job, tmp_path / "out")
    assert not any(file.is_symlink() for file in (tmp_path / "out").iterdir())
    assert (tmp_path / "elsewhere").read_bytes() == before


def test_a_full_disk_is_one_sentence_and_the_merge_goes_on_later(models, tmp_path, monkeypatch):
    written = 0
    pwrite = os.pwrite

    def limited(descriptor, data, position):
        nonlocal written
        written += len(data)
        if written > 50_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return pwrite(descriptor, data, position)

    job = pair(models, max_shard_size="20KB")
    monkeypatch.setattr(os, "pwrite", limited)
    refusal(job, tmp_path / "out", "the disk is full; free some space and run the same merge again, it goes on")
    monkeypatch.undo()
    assert merge_checkpoints(job, tmp_path / "out").resumed >= 1


def test_too_little_space_is_said_before_anything_is_written(models, tmp_path, monkeypatch):
    class Status:
        f_bavail, f_frsize = 1, 1000

    monkeypatch.setattr(os, "statvfs", lambda path: Status)
    refusal(pair(models), tmp_path / "out", r"has 1.00 KB free and the result needs")
    assert not (tmp_path / ".out.part").exists()
    monkeypatch.undo()
    interrupt(monkeypatch, 3)
    job = pair(models, max_shard_size="20KB")
    with pytest.raises(KeyboardInterrupt):
        merge_checkpoints(job, tmp_path / "out")
    monkeypatch.undo()
    monkeypatch.setattr(os, "statvfs", lambda path: Status)
    with pytest.raises(CompressionError, match=r"has 1.00 KB free and the result needs"):
        merge_checkpoints(job, tmp_path / "out")
    monkeypatch.undo()
    assert merge_checkpoints(job, tmp_path / "out").resumed == 3  # too little space costs nothing that is there


def test_an_existing_folder_is_refused(models, tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(CompressionError, match="exists already"):
        merge_checkpoints(pair(models), tmp_path / "out")


def test_inputs_are_untouched(models, tmp_path):
    before = {file: sha256_of(file) for file in models.rglob("*") if file.is_file()}
    merge_checkpoints(pair(models), tmp_path / "out")
    assert before == {file: sha256_of(file) for file in models.rglob("*") if file.is_file()}


@pytest.mark.parametrize(("text", "size"), [("5GB", 5 * 10**9), ("1.5 kb", 1500), ("10B", 10)])
def test_a_size_is_a_number_and_a_unit(text, size):
    assert parse_size(text, "max_shard_size") == size


@pytest.mark.parametrize("text", ["5", "GB", "-1GB", "0MB", "5 gigabytes"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(CompressionError, match="is not a size"):
        parse_size(text, "max_shard_size")


def test_a_base_with_an_adapter_is_the_base_it_is_merged_into(tmp_path):
    base = tiny_llama(seed=0)
    base.save_pretrained(tmp_path / "base")
    tiny_llama(seed=1).save_pretrained(tmp_path / "a")
    make_adapter(base, tmp_path / "lora", target_modules=["q_proj"])
    apply_adapters(tmp_path / "base", [tmp_path / "lora"], tmp_path / "applied")
    settings = {"method": TaskArithmetic(scale=0.5), "members": [Member(str(tmp_path / "a"))]}
    given = Merge(**settings, base=str(tmp_path / "base"), base_adapter=str(tmp_path / "lora"))
    result = merge_checkpoints(given, tmp_path / "out")
    merge_checkpoints(Merge(**settings, base=str(tmp_path / "applied")), tmp_path / "expected")
    found, expected = (load_file(tmp_path / name / "model.safetensors") for name in ("out", "expected"))
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor)
    assert set(result.inputs["base"]) == {"model.safetensors", "adapter_model.safetensors"}
    assert result.merge.base_adapter == "./lora"
    with pytest.raises(CompressionError, match="base_adapter changes the base, and base is missing"):
        merge_checkpoints(Merge(members=[Member(str(tmp_path / "a"))], base_adapter=str(tmp_path / "lora")), tmp_path / "x")


def test_a_chat_template_that_no_input_has_is_refused_and_by_mergekits_rules_left_out(models, tmp_path):
    with pytest.raises(CompressionError, match="chat_template: no input has one; write the template itself, or leave it"):
        merge_checkpoints(pair(models, chat_template="auto"), tmp_path / "out")
    merge_checkpoints(pair(models, chat_template="auto", compat="mergekit"), tmp_path / "out")
    merge_checkpoints(pair(models), tmp_path / "plain")
    assert {file.name for file in (tmp_path / "out").iterdir()} == {file.name for file in (tmp_path / "plain").iterdir()}
