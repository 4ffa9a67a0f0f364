"""The command line, called in this process.

Libraries are imported where they are used: tests/conftest.py imports this also in the process that only hands out tests.
"""

import logging
import sys

import pytest

UP = "\x1b[A"
"""What a bar that stands below another ends with: bars of other tests may stand above."""


def tree(folder):
    """Every path below a folder."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture
def call(monkeypatch, capsys):
    """call("run", file, ...) -> exit code, standard output, complaints without their prefix."""
    from hf_compress.cli import main

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["hf-compress", *map(str, arguments)])
        capsys.readouterr()  # what the test itself made libraries say
        with pytest.raises(SystemExit) as stop:
            main()
        logging.disable(logging.NOTSET)  # where the test plays another process than the main one
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        prefix = "hf-compress: "
        return (
            stop.value.code or 0,
            out,
            [line.removeprefix(prefix) for line in err.replace(UP, "\n").splitlines() if line.startswith(prefix)],
        )

    return run


@pytest.fixture
def refused(call, tmp_path):
    """refused(changes, *options) -> the complaints of a run that ended with exit code 2 and wrote nothing."""
    from hf_compress._yaml import write_yaml
    from tests.small import recipe, text_rows, write_jsonl

    def run(changes=None, *options, text=None):
        file = tmp_path / "recipe.yaml"
        if not (tmp_path / "train.jsonl").exists():
            write_jsonl(tmp_path / "train.jsonl", text_rows())
        file.write_text(write_yaml(recipe(tmp_path, changes)) if text is None else text)
        before = tree(tmp_path)
        code, out, complaints = call("run", file, *options)
        assert code == 2, (code, complaints)
        assert tree(tmp_path) == before
        assert out == ""
        return complaints

    return run
