"""What goes along with the weights, and whose chat template it is."""

import json
import re
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import save_file

from hf_compress import CompressionError
from hf_compress.checkpoints.companions import (
    companions,
    copy_companions,
    most_frequent_chat_template,
    write_chat_template,
)


def _folder(path, template=None, **settings):
    path.mkdir()
    (path / "tokenizer_config.json").write_text(json.dumps(settings))
    if template is not None:
        (path / "chat_template.jinja").write_text(template)
    return path


def test_the_template_of_most_inputs_is_found_wherever_it_stands(tmp_path):
    folders = [
        _folder(tmp_path / "a", "{{ one }}"),
        _folder(tmp_path / "b", chat_template="{{ two }}"),
        _folder(tmp_path / "c", chat_template=[{"name": "default", "template": "{{ two }}\n"}]),
        _folder(tmp_path / "d"),
    ]
    assert most_frequent_chat_template(folders) == "{{ two }}"
    assert most_frequent_chat_template(folders[:2]) == "{{ one }}"
    # An input that is base and member is one input.
    assert most_frequent_chat_template([folders[1], folders[0], folders[0]]) == "{{ two }}"
    assert most_frequent_chat_template(folders[3:]) is None


def test_a_written_template_is_the_only_one(tmp_path):
    folder = _folder(tmp_path / "a", chat_template="{{ old }}", padding_side="left")
    write_chat_template("{{ new }}", folder)
    assert (folder / "chat_template.jinja").read_text() == "{{ new }}"
    assert json.loads((folder / "tokenizer_config.json").read_text()) == {"padding_side": "left"}


def test_the_template_belongs_to_the_tokenizer(tmp_path):
    base = _folder(tmp_path / "base", "{{ base }}")
    (base / "preprocessor_config.json").write_text("{}")
    out = tmp_path / "out"
    out.mkdir()
    assert copy_companions(base, out, tokenizer=False) == ["preprocessor_config.json"]
    assert copy_companions(base, out) == ["chat_template.jinja", "tokenizer_config.json"]


def test_a_sentence_transformers_model_stays_one_unless_its_modules_have_weights(tmp_path, caplog):
    source, out = _folder(tmp_path / "a"), tmp_path / "out"
    out.mkdir()
    modules = [
        {"idx": number, "path": path} for number, path in enumerate(("", "1_Pooling", "2_Normalize", "../elsewhere"))
    ]
    (source / "modules.json").write_text(json.dumps(modules))
    (source / "sentence_bert_config.json").write_text("{}")
    (source / "1_Pooling").mkdir()
    (source / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    expected = ["1_Pooling", "modules.json", "sentence_bert_config.json"]
    assert copy_companions(source, out, tokenizer=False) == expected
    assert (out / "1_Pooling" / "config.json").read_text() == '{"pooling_mode_mean_tokens": true}'
    save_file({"w": torch.ones(1)}, source / "1_Pooling" / "model.safetensors")
    assert companions(source, tokenizer=False) == []
    assert "1_Pooling has weights of its own, which are not merged" in caplog.text
    (source / "modules.json").write_text("{}}")
    with pytest.raises(CompressionError, match="modules.json is not a list of sentence-transformers modules"):
        companions(source)


def test_code_goes_with_a_config_that_names_it(tmp_path):
    base, out = _folder(tmp_path / "base"), tmp_path / "out"
    out.mkdir()
    (base / "modeling_mine.py").write_text("raise SystemExit")
    (base / "config.json").write_text("{}")
    assert copy_companions(base, out) == ["tokenizer_config.json"]
    (base / "config.json").write_text('{"auto_map": {"AutoModel": "modeling_mine.Mine"}}')
    assert copy_companions(base, out) == ["modeling_mine.py"]


def vocabulary_files_of_transformers():
    """What the tokenizer classes name as their files, read from their source: some import packages that are not there."""
    found = set()
    for file in Path(transformers.__file__).parent.rglob("tokenization_*.py"):
        for block in re.findall(r"(?s)VOCAB_FILES_NAMES = \{(.*?)\}", file.read_text(encoding="utf-8")):
            found |= set(re.findall(r':\s*"([^"]+)"', block))
    return found


def test_every_file_that_a_tokenizer_class_of_transformers_names_is_copied(tmp_path):
    names = vocabulary_files_of_transformers()
    assert len(names) > 20
    expected = {"source.spm", "bpe.codes", "dict.txt", "entity_vocab.json", "prophetnet.tokenizer", "byte_maps.json"}
    assert expected <= names
    folder = _folder(tmp_path / "a")
    for name in (*names, "tekken.json", "tekken_240911.json", "tokenizer.model.v3", "audio_tokenizer_config.json"):
        (folder / name).write_text("{}")
    for name in ("qformer_tokenizer", "question_encoder_tokenizer", "speaker_embeddings"):
        (folder / name).mkdir()
        (folder / name / "vocab.json").write_text("{}")
    assert {file.name for file in companions(folder)} == {file.name for file in folder.iterdir()}
    (folder / "qformer_tokenizer" / "model.safetensors").write_text("")
    assert folder / "qformer_tokenizer" not in companions(folder)


MODULES = {"no list": "3", "no JSON": "[{", "no path": "[{}]", "a number": '[{"path": 3}]', "deep": "[" * 5000}


@pytest.mark.parametrize("case", MODULES)
def test_a_damaged_list_of_modules_is_a_sentence(case, tmp_path):
    (tmp_path / "modules.json").write_text(MODULES[case])
    with pytest.raises(CompressionError, match="is not a list of sentence-transformers modules"):
        companions(tmp_path)


def test_modules_outside_the_folder_are_not_copied(tmp_path):
    (tmp_path / "model" / "1_Pooling").mkdir(parents=True)
    paths = ["", "1_Pooling", "..", "../other", "/tmp", "x" * 5000]
    (tmp_path / "model" / "modules.json").write_text(json.dumps([{"path": path} for path in paths]))
    assert [file.name for file in companions(tmp_path / "model")] == ["1_Pooling", "modules.json"]


def test_a_damaged_chat_template_is_a_sentence_or_none(tmp_path):
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"chat_template": [3, {"name": "default"}]}))
    assert most_frequent_chat_template([tmp_path]) is None
    (tmp_path / "chat_template.jinja").write_bytes(b"\xff\xfe")
    with pytest.raises(CompressionError, match="is not UTF-8 text"):
        most_frequent_chat_template([tmp_path])
