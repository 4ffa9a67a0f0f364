"""One folder: saved, loaded by the Auto classes, saved again, and what is refused."""

import json
import shutil

import pytest
import torch
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer

from hf_compress import CompressionError, ParallelEnsemble, Quantization, quantize, save_compressed
from hf_compress.ensembling.modelling.models import EnsembleConfig
from hf_compress.quantization.schemes.presets import W8A16
from tests.ensembling.folders import lower_tokenizer, saved, texts
from tests.tiny import tiny_tokenizer

IDS = torch.randint(4, 60, (5, 7), generator=torch.Generator().manual_seed(0))


@pytest.fixture
def folders(tmp_path):
    return saved(*texts(), tmp_path / "members")


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def test_saved_and_loaded_it_answers_the_same(folders, tmp_path):
    made = ParallelEnsemble.from_members(folders, weights=[1, 2], combiner="mean_logits")
    made.save_pretrained(tmp_path / "out")
    again, info = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out", output_loading_info=True)
    assert type(again) is ParallelEnsemble and not any(info.values())
    assert torch.equal(again(IDS).logits, made(IDS).logits)
    assert again.config.names == ["model-0", "model-1"] and again.config.weights == [1, 2]
    assert isinstance(AutoConfig.from_pretrained(tmp_path / "out"), EnsembleConfig)
    again.save_pretrained(tmp_path / "again")
    assert files(tmp_path / "out") == files(tmp_path / "again")
    for name in files(tmp_path / "out"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes(), name


def test_no_place_of_this_machine_is_in_the_folder(folders, tmp_path):
    ParallelEnsemble.from_members(folders).save_pretrained(tmp_path / "out")
    for path in (tmp_path / "out").rglob("*.json"):
        assert str(tmp_path) not in path.read_text(), path


def test_the_tokenizer_of_the_members_lies_at_the_top(folders, tmp_path):
    ParallelEnsemble.from_members(folders).save_pretrained(tmp_path / "out")
    assert AutoTokenizer.from_pretrained(tmp_path / "out")("hello.").data == tiny_tokenizer()("hello.").data


def test_several_tokenizers_come_back(tmp_path):
    members, _ = texts()
    made = ParallelEnsemble.from_members(members, processors=[tiny_tokenizer(), lower_tokenizer()])
    made.save_pretrained(tmp_path)
    again, tokenizer = ParallelEnsemble.from_pretrained(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    inputs = tokenizer(["Hello a", "b"], padding=True, return_tensors="pt")
    assert again.processor(["Hello a", "b"], padding=True)["input_ids_1"] == inputs["input_ids_1"].tolist()
    assert torch.equal(again(**inputs).logits, made(**inputs).logits)


def test_a_packed_member_stays_packed(tmp_path):
    (first, second), tokenizers = texts(orders=("abc", "abc"))
    paths = saved([first, second], tokenizers, tmp_path)
    quantize(second, Quantization(scheme=W8A16(group_size=16)))
    save_compressed(second, tmp_path / "packed", tokenizers[1])
    made = ParallelEnsemble.from_members([paths[0], tmp_path / "packed"])
    before = made(IDS).logits
    made.save_pretrained(tmp_path / "out")
    packed = (tmp_path / "packed" / "model.safetensors").read_bytes()
    assert (tmp_path / "out" / "member-1" / "model.safetensors").read_bytes() == packed
    again = ParallelEnsemble.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(again(IDS).logits, before)
    again.save_pretrained(tmp_path / "again")
    assert files(tmp_path / "out") == files(tmp_path / "again")
    assert (tmp_path / "again" / "member-1" / "model.safetensors").read_bytes() == packed
    torch.testing.assert_close(ParallelEnsemble.from_pretrained(tmp_path / "again")(IDS).logits, before)


def test_ensembles_of_ensembles(folders, tmp_path):
    inner = ParallelEnsemble.from_members(folders)
    inner.save_pretrained(tmp_path / "inner")
    outer = ParallelEnsemble.from_members([tmp_path / "inner", folders[1]])
    outer.save_pretrained(tmp_path / "outer")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "outer")
    assert isinstance(again.members[0], ParallelEnsemble)
    assert torch.equal(again(IDS).logits, outer(IDS).logits)


def test_a_state_dict_is_split_among_the_members(folders, tmp_path):
    made = ParallelEnsemble.from_members(folders)
    state = {
        key: value + 1 if key.startswith("members.1.classifier") else value for key, value in made.state_dict().items()
    }
    made.save_pretrained(tmp_path / "out", state_dict=state)
    again = ParallelEnsemble.from_pretrained(tmp_path / "out").state_dict()
    assert state.keys() == again.keys() and all(torch.equal(state[key], again[key]) for key in state)


def test_a_config_alone_makes_one_with_fresh_weights(folders, tmp_path):
    ParallelEnsemble.from_members(folders).save_pretrained(tmp_path / "out")
    config = AutoConfig.from_pretrained(tmp_path / "out")
    made = AutoModelForSequenceClassification.from_config(config)
    assert [type(member).__name__ for member in made.members] == ["BertForSequenceClassification"] * 2
    with torch.device("meta"):
        assert all(weight.is_meta for weight in ParallelEnsemble(config).parameters())


def test_what_cannot_be_loaded_names_the_member(folders, tmp_path):
    ParallelEnsemble.from_members(folders).save_pretrained(tmp_path / "out")
    shutil.rmtree(tmp_path / "out" / "member-1")
    with pytest.raises(CompressionError, match="member 'model-1': .*member-1 cannot be loaded"):
        ParallelEnsemble.from_pretrained(tmp_path / "out")
    with pytest.raises(CompressionError, match="member 'absent': .*absent cannot be loaded: no such folder"):
        ParallelEnsemble.from_members([folders[0], tmp_path / "absent"])
    with pytest.raises(CompressionError, match="write a folder, a Hub id or"):
        ParallelEnsemble.from_members([folders[0], {"modle": "x"}])


def test_code_beside_a_member_is_never_run(folders, tmp_path, monkeypatch):
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    ParallelEnsemble.from_members(folders).save_pretrained(tmp_path / "out")
    for place in (tmp_path / "members" / "model-1", tmp_path / "out" / "member-1"):
        config = json.loads((place / "config.json").read_text())
        config |= {"auto_map": {"AutoConfig": "code.C"}, "model_type": "of_its_own"}
        (place / "config.json").write_text(json.dumps(config))
        (place / "code.py").write_text(
            f"open({str(tmp_path / 'executed')!r}, 'w')\nfrom transformers import BertConfig as C\n"
        )
    for load in (
        lambda: ParallelEnsemble.from_members(folders),
        lambda: ParallelEnsemble.from_pretrained(tmp_path / "out"),
    ):
        with pytest.raises(
            CompressionError, match="member 'model-1': .* code that lies beside it, which is never run here"
        ):
            load()
    assert not (tmp_path / "executed").exists()


def test_members_on_this_machine_have_no_references(folders, tmp_path):
    with pytest.raises(CompressionError, match="'model-0' did not come from the Hub"):
        ParallelEnsemble.from_members(folders).save_pretrained(tmp_path / "out", references=True)
    assert not (tmp_path / "out" / "config.json").exists()


def test_a_quantization_while_loading_is_refused(folders, tmp_path):
    ParallelEnsemble.from_members(folders).save_pretrained(tmp_path / "out")
    with pytest.raises(CompressionError, match="quantize its members before"):
        ParallelEnsemble.from_pretrained(tmp_path / "out", quantization_config={"bits": 4})


def test_the_config_is_written_last(folders, tmp_path, monkeypatch):
    made = ParallelEnsemble.from_members(folders)
    monkeypatch.setattr(made.members[1], "save_pretrained", lambda *args, **kwargs: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        made.save_pretrained(tmp_path / "out")
    assert (tmp_path / "out" / "member-0").is_dir() and not (tmp_path / "out" / "config.json").exists()
    assert json.loads((tmp_path / "members" / "model-0" / "config.json").read_text())["model_type"] == "bert"
