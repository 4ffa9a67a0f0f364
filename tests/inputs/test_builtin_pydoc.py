"""The built-in corpus: real text in three splits that share none of it."""

import pydoc_data.topics
import re

import pytest

from hf_compress._errors import CompressionError
from hf_compress.inputs import builtin_pydoc
from hf_compress.inputs.builtin_pydoc import _docstrings, pydoc_documents


def test_docstrings_are_read_with_their_names_and_nothing_is_run(tmp_path):
    file = tmp_path / "module.py"
    file.write_text(
        '"""Top."""\nraise SystemExit\nclass A:\n    """Of A."""\n    def f(self):\n        """Of f."""\ndef g(): pass\n'
    )
    assert _docstrings(file) == [([], "Top."), (["A"], "Of A."), (["A", "f"], "Of f.")]
    file.write_text("def (:")
    assert _docstrings(file) == []


@pytest.fixture(scope="module")
def splits():
    return pydoc_documents()


def test_the_splits_are_nine_to_one_to_one_half_and_share_no_docstring(splits):
    sizes = {name: sum(map(len, documents.values())) for name, documents in splits.items()}
    assert sizes["train"] > 8 * sizes["test"] > 0 and sizes["train"] > 8 * sizes["validation"] > 0
    assert sum(sizes.values()) > 2_000_000
    owners = {}
    for split, documents in splits.items():
        for name, text in documents.items():
            assert owners.setdefault(name, split) == split
            if name.startswith("module:"):
                for paragraph in {" ".join(part.split()) for part in re.split(r"\n\n(?=\w+\.\w)", text)}:
                    assert owners.setdefault(paragraph, split) == split or len(paragraph) < 40


def test_topics_are_those_of_help(splits):
    documents = {name: text for part in splits.values() for name, text in part.items()}
    assert documents["topic:if"] == pydoc_data.topics.topics["if"].strip()
    assert len([name for name in documents if name.startswith("topic:")]) == len(pydoc_data.topics.topics)


def test_a_python_without_sources_is_refused(monkeypatch):
    monkeypatch.setattr(builtin_pydoc, "_topics", dict)
    monkeypatch.setattr(builtin_pydoc, "_sources", lambda root: [])
    with pytest.raises(CompressionError, match="found only 0 documents: this Python was installed without"):
        pydoc_documents()
