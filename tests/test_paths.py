"""Published files name folders and do not say where they lie."""

import os
from pathlib import Path

from hf_compress._paths import in_public, public_names


def test_paths_of_this_machine_are_named_by_their_last_parts():
    data = {
        "model": "/home/me/models/bert",
        "teacher": {"model": "~/models/big"},
        "data": ["../shared/sst2", "C:\\Users\\me\\texts", "/"],
        "hub": "org/name",
        "out": "out/run",
        "ignore": ["re:.*lm_head"],
        "number": 3,
        "text": "a/b and c",
    }
    names = public_names(data)
    assert names["/home/me/models/bert"] == "./bert"
    assert names["~/models/big"] == "./big"
    assert names["../shared/sst2"] == "./sst2"
    assert names["C:\\Users\\me\\texts"] == "./texts"
    assert set(names) == {"/home/me/models/bert", "~/models/big", "../shared/sst2", "C:\\Users\\me\\texts"}


def test_two_folders_of_one_name_stay_two():
    assert public_names(["/a/one/model", "/a/two/model", "/a/one/model/"]) == {
        "/a/one/model": "./one/model",
        "/a/two/model": "./two/model",
        "/a/one/model/": "./one/model",
    }


def test_sentences_and_nested_data_say_the_names():
    names = {"/a/b": "./b", "/a/b/c": "./c"}
    data = {"x": ("/a/b/c (5 rows)", ["/a/b"]), "n": 1, "none": None}
    assert in_public(data, names) == {"x": ["./c (5 rows)", ["./b"]], "n": 1, "none": None}


def test_a_home_and_its_user_do_not_show(monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    names = public_names(["~/x/data", str(Path("~/x/model").expanduser()), f"..{os.sep}x"])
    assert not any("somebody" in name or "~" in name or ".." in name for name in names.values())


def test_of_what_lies_in_the_working_directory_only_the_last_part_is_said(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "models" / "bert").mkdir(parents=True)
    (tmp_path / "text").mkdir()
    recipe = {"model": "data/models/bert", "hub": "org/name", "text": "text", "training": {"output_dir": "out/run"}}
    names = public_names([recipe, "./data/models/bert"])
    assert names == {"data/models/bert": "./bert", "./data/models/bert": "./bert", "out/run": "./run"}
    assert public_names(in_public(recipe, names)) == {}, "a name is not renamed"
    assert in_public({**recipe, "said": "data/models/bert (5 rows)"}, names) == {
        "model": "./bert",
        "hub": "org/name",
        "text": "text",
        "training": {"output_dir": "./run"},
        "said": "./bert (5 rows)",
    }
