"""One progress bar, in one process."""

import pytest

from hf_compress._progress import progress


def test_a_bar_goes_through_what_it_is_given(capsys):
    assert list(progress(range(3), "counting", leave=False)) == [0, 1, 2]
    assert "counting" in capsys.readouterr().err


@pytest.mark.parametrize(("rank", "description"), [("1", "counting"), ("0", "")])
def test_other_processes_and_nameless_work_show_none(rank, description, monkeypatch, capsys):
    monkeypatch.setenv("RANK", rank)
    assert list(progress(range(3), description)) == [0, 1, 2]
    with progress(description=description, total=2) as bar:
        bar.update(2)
    assert capsys.readouterr().err == ""
