"""Public names: one list and one rule, held against what there is."""

import dataclasses
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import hf_compress
from hf_compress._public import INTERNAL, homes
from tests.test_architecture import FILES, kinds, name_of

ROOT = Path(__file__).parents[1]


def test_every_public_name_is_there():
    for name in homes():
        assert getattr(hf_compress, name).__name__ == name
    assert set(hf_compress.__all__) == {*homes(), "__version__"} == set(dir(hf_compress))


def test_every_built_in_strategy_is_public():
    for kind in kinds():
        for strategy in kind.available().values():
            package = strategy.__module__.removeprefix("hf_compress.").rpartition(".")[0]
            if strategy.__module__.startswith("hf_compress.") and not package.startswith("_") and package not in INTERNAL:
                assert getattr(hf_compress, strategy.__name__) is strategy


def test_every_configuration_value_is_public():
    for file in FILES:
        module = name_of(file)
        if module.rsplit(".", 1)[-1] in ("configuration", "sections"):
            for name, value in vars(importlib.import_module(module)).items():
                if dataclasses.is_dataclass(value) and value.__module__ == module and not name.startswith("_"):
                    assert getattr(hf_compress, name) is value


def test_type_checkers_see_the_same():
    script = [sys.executable, str(ROOT / "scripts" / "public_names.py"), "--check"]
    assert subprocess.run(script).returncode == 0, "run `make style`: it writes hf_compress/__init__.pyi anew"


def test_an_unknown_name_is_said():
    with pytest.raises(ImportError, match="cannot import name 'Prunning'"):
        from hf_compress import Prunning  # noqa: F401
    with pytest.raises(AttributeError, match="has no attribute '_Ties'"):
        hf_compress._Ties  # noqa: B018
