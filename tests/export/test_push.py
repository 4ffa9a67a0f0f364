"""Finished folders on a local Hub: loaded from there by stock libraries in a process of their own, to the bit."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi, ModelCard
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

import hf_compress
from hf_compress import (
    CompressionError,
    Linear,
    Member,
    Merge,
    ParallelEnsemble,
    Pruning,
    extract_lora,
    merge,
    prune,
    push,
    quantize,
)
from hf_compress._hub.client import Hub, PushError
from hf_compress._hub.publication import Publication
from hf_compress.checkpoints.manifest import Manifest
from hf_compress.export.formats.compressed_tensors import save_compressed
from hf_compress.export.formats.dense import save_dense
from hf_compress.export.push import publish
from hf_compress.jobs.verify.run import verify
from hf_compress.pruning.schedules.constant import Constant
from hf_compress.quantization.configuration import Quantization
from tests.local_hub import TOKEN
from tests.tiny import tiny_llama, tiny_tokenizer

LOADING = """\
import sys
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

for name in sys.argv[2:]:
    model = AutoModelForCausalLM.from_pretrained(name, trust_remote_code=name == "me/pair")
    torch.save(model(torch.arange(8)[None]).logits, f"{sys.argv[1]}/{name.split('/')[1]}.pt")
assert "hf_compress" not in sys.modules
assert AutoTokenizer.from_pretrained("me/merged")("cat").input_ids
"""


def pushed(folder, name="me/model", **settings):
    return publish(folder, Publication(repo_id=name, **settings), Hub(api=HfApi(), waits=(0.0,) * 5))


def merged(folder):
    for seed in (1, 2):
        tiny_llama(seed).save_pretrained(folder / f"tuned-{seed}")
        tiny_tokenizer().save_pretrained(folder / f"tuned-{seed}")
    members = [Member(model=str(folder / f"tuned-{seed}")) for seed in (1, 2)]
    return merge(Merge(method=Linear(), members=members), folder / "merged").folder


def published(folder):
    """Name on the Hub -> what was pushed there: a pruned model, a packed one, a merge, an ensemble, an adapter."""
    model = tiny_llama()
    prune(model, Pruning(schedule=Constant(final=0.5)))
    folders = {"me/pruned": save_dense(model, folder / "pruned", tiny_tokenizer())}
    packed = tiny_llama()
    quantize(packed, Quantization(scheme="W8A8"))
    folders["me/packed"] = save_compressed(packed, folder / "packed")
    folders["me/merged"] = merged(folder)
    for name, place in folders.items():
        push(place, name, private=True)
    pair = ParallelEnsemble.from_members(
        [folder / "pruned", folder / "tuned-1"], weights=[2, 1], processors=[tiny_tokenizer()] * 2
    )
    pair.save_pretrained(folder / "pair")
    folders["me/pair"] = folder / "pair"
    push(folders["me/pair"], "me/pair")
    with torch.no_grad():
        model.model.layers[0].self_attn.q_proj.weight += 0.1
    model.save_pretrained(folder / "tuned")
    folders["me/adapter"] = extract_lora("me/pruned", folder / "tuned", folder / "adapter", rank=2).folder
    push(folders["me/adapter"], "me/adapter")
    return folders


@pytest.mark.filterwarnings("ignore:.*is_gradient_checkpointing.*:FutureWarning")  # peft asks for it
def test_what_is_pushed_is_loaded_in_another_process_by_stock_from_pretrained(local_hub, tmp_path):
    folders = published(tmp_path)
    environment = {
        **os.environ,
        "HF_ENDPOINT": local_hub.url,
        "HF_HUB_OFFLINE": "0",
        "HF_HOME": str(tmp_path / "home"),
        "HF_TOKEN": TOKEN,
    }
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    subprocess.run([sys.executable, "-c", LOADING, str(elsewhere), *folders], env=environment, cwd=elsewhere, check=True)
    for name, folder in folders.items():
        here = {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        there = local_hub.files(name)
        assert here.items() <= there.items()
        assert there.keys() - here.keys() <= {".gitattributes", "README.md"}
        own = AutoModelForCausalLM.from_pretrained(folder)(torch.arange(8)[None]).logits
        assert torch.equal(torch.load(elsewhere / f"{name.split('/')[1]}.pt"), own), name
    assert local_hub.broken == []
    card = ModelCard(local_hub.files("me/adapter")["README.md"].decode())
    assert (card.data.library_name, card.data.base_model) == ("peft", "me/pruned")


def test_the_command_line_says_where_it_is_and_an_exit_code(local_hub, tmp_path, call):
    folder = merged(tmp_path)
    code, out, complaints = call("push", folder, "me/soup", "--private", "--tag", "v1")
    assert (code, complaints) == (0, [])
    assert out == f"published        {local_hub.url}/me/soup/commit/{local_hub.repos['me/soup'].tags['v1']}\n"
    assert call("push", folder, "somebody/soup")[0::2] == (2, [REFUSED_OWNER])
    local_hub.fault("POST .*/commit/main", 413)
    code, out, (complaint,) = call("push", folder, "me/other")
    assert code == 1 and complaint.endswith(
        f"are uploaded and will not be again. 'hf-compress push {folder} me/other' goes on"
    )


REFUSED_OWNER = (
    "repo_id='somebody/soup' is not the token's to write to, which writes for me (and for team); name a repository of"
    " yours, or ask its owners with create_pr"
)


def changed_weights(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"][0, 0] += 1
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})


def rewritten(name, old, new):
    def change(folder):
        file = folder / name
        file.write_text(file.read_text().replace(old, new, 1))

    return change


def cut_off(file):
    file.write_bytes(file.read_bytes()[:-1])


REFUSED = {
    "weights that changed": (
        changed_weights,
        "compression.json and the weights disagree: model.safetensors has changed since",
    ),
    "no weights": (
        lambda folder: (folder / "model.safetensors").unlink(),
        r"holds no model: config.json and \*.safetensors",
    ),
    "weights that are cut off, without a manifest": (
        lambda folder: (cut_off(folder / "model.safetensors"), (folder / "compression.json").unlink()),
        "model.safetensors is truncated: .*write or download it again",
    ),
    "no config": (lambda folder: (folder / "config.json").unlink(), "holds no model"),
    "a path in the card": (
        rewritten("README.md", "# merged", "# merged\nfrom /home/ada/models/one"),
        "README.md, line .*: names /home/ada/models/one, which is of this machine",
    ),
    "hashes that are none": (
        rewritten("compression.json", '"weights": {', '"weights": 5, "other": {'),
        "compression.json is damaged .weights is 5.; export the model again",
    ),
    "a secret in the card": (rewritten("README.md", "# merged", f"# merged {TOKEN}"), "a secret stands there"),
    "a secret in a note": (
        lambda folder: (folder / "notes.txt").write_text(f"first\n{TOKEN}"),
        "notes.txt, line 2: a secret stands there",
    ),
    "a file that is not to be read": (
        lambda folder: (folder / "notes.txt").symlink_to("/proc/self/mem"),
        "/notes.txt cannot be read: Input/output error; make it readable, or remove it",
    ),
    "a path in the manifest": (rewritten("compression.json", '"merged"', '"/data/me/merged"'), "names /data/me/merged"),
    "a checkpoint": (
        lambda folder: Manifest(kind="checkpoint", recipe={}).write(folder),
        "is a checkpoint of a training and not its result",
    ),
}


@pytest.fixture(scope="module")
def one_merge(tmp_path_factory):
    return merged(tmp_path_factory.mktemp("one"))


@pytest.mark.parametrize("change, sentence", REFUSED.values(), ids=REFUSED)
def test_a_folder_that_is_not_what_it_says_is_refused_before_the_hub_is_asked(
    change, sentence, one_merge, local_hub, tmp_path
):
    folder = shutil.copytree(one_merge, tmp_path / "merged")
    change(folder)
    with pytest.raises(CompressionError, match=sentence) as refusal:
        push(folder, "me/model")
    assert TOKEN not in str(refusal.value)
    assert local_hub.requests == []


def test_an_adapter_of_a_base_that_nobody_has_is_refused(one_merge, local_hub, tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    save_file({"a": torch.ones(1)}, adapter / "adapter_model.safetensors")
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(one_merge)}))
    with pytest.raises(
        CompressionError, match="base_model_name_or_path is a folder of this machine .*write the base's Hub id"
    ):
        push(adapter, "me/adapter")


def test_a_merge_holds_what_its_manifest_says(one_merge):
    checks = verify(str(one_merge)).checks
    assert {check.what: check.holds for check in checks} == {
        **dict.fromkeys(("compression.json", "files", "README.md"), True),
        "metrics": None,
    }


def test_what_belongs_to_a_training_or_to_nobody_stays_here(one_merge, local_hub, tmp_path):
    folder = shutil.copytree(one_merge, tmp_path / "merged")
    for name in (".env", "training_args.bin", "optimizer.pt", "checkpoint-5/model.safetensors", "notes.txt"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text("x")
    pushed(folder)
    assert set(local_hub.files("me/model")) == {".gitattributes", "notes.txt", *(file.name for file in one_merge.iterdir())}


def test_a_link_that_leads_to_no_file_is_left_out_and_said(one_merge, local_hub, tmp_path, caplog):
    caplog.set_level("INFO")
    folder = shutil.copytree(one_merge, tmp_path / "merged")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "one.txt").write_text("x")
    (folder / "pictures").symlink_to(tmp_path / "pictures")
    (folder / "notes.txt").symlink_to(tmp_path / "pictures" / "one.txt")
    (folder / "gone.txt").symlink_to(tmp_path / "nowhere")
    pushed(folder)
    assert "left out of the push: gone.txt, pictures" in caplog.text
    assert local_hub.files("me/model")["notes.txt"] == b"x"


def test_an_exported_program_is_published_with_the_hashes_of_its_files(local_hub, tmp_path):
    folder = tmp_path / "program"
    folder.mkdir()
    for name, content in {"config.json": "{}", "export.json": "{}", "model.onnx": "graph", "model.onnx.data": "w"}.items():
        (folder / name).write_text(content)
    Manifest(kind="train", name="program", recipe={}, facts={"report": {}}).write(folder)
    assert set(Manifest.read(folder).facts["weights"]) == {"model.onnx", "model.onnx.data"}
    pushed(folder)
    assert local_hub.files("me/model").keys() == {".gitattributes", *(file.name for file in folder.iterdir())}
    (folder / "model.onnx.data").write_text("v")
    with pytest.raises(CompressionError, match="and the weights disagree: model.onnx.data has changed since"):
        pushed(folder)
    tiny_llama().save_pretrained(tmp_path / "dense")
    pushed(tmp_path / "dense")
    assert not {"model.onnx", "model.onnx.data", "export.json"} & local_hub.files("me/model").keys()


def test_the_folder_of_a_run_points_to_its_result(tmp_path):
    (tmp_path / "run" / "compressed").mkdir(parents=True)
    (tmp_path / "run" / "compressed" / "config.json").write_text("{}")
    with pytest.raises(CompressionError, match="is the folder of a run, and its result is .*compressed; name that"):
        push(tmp_path / "run", "me/model")


FAULTS = (
    ("POST /api/repos/create", "lost"),
    ("GET /api/whoami-v2", 429),
    ("POST /api/validate-yaml", 500),
    ("POST .*/commit/", "lost"),
    ("POST .*/commit/", "cut"),
    ("POST .*/commit/", 409),
    ("GET .*/tree/", "hang up"),
    ("POST .*/commit/", 412),
)


def test_versions_pushed_through_faults_one_after_the_other_end_complete(local_hub, tmp_path):
    """The long form, with faults in uploads as well, is scripts/push_with_faults.py."""
    for number, (request, kind) in enumerate(FAULTS):
        folder = tmp_path / str(number)
        tiny_llama(number).save_pretrained(folder, max_shard_size="30KB" if number % 2 else "1GB")
        Manifest(kind="merge", name="soup", recipe={"job": "merge"}, facts={"report": {}}).write(folder)
        (folder / "README.md").write_text("# soup\n")
        local_hub.fault(request, kind)
        try:
            pushed(folder)
        except PushError:
            pushed(folder)
        here = {file.name: file.read_bytes() for file in folder.iterdir()}
        assert {**here, ".gitattributes": b"*.bin filter=lfs\n"} == local_hub.files("me/model")
    assert local_hub.broken == [] and all(fault.times == 0 for fault in local_hub.faults)
    assert Path(hf_compress.__file__)
