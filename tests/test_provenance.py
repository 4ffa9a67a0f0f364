"""With what something was made, and when."""

import datetime
import platform

import torch

import hf_compress
from hf_compress._provenance import today, versions


def test_versions_are_those_that_compute_here():
    known = versions()
    assert known["hf_compress"] == hf_compress.__version__
    assert known["python"] == platform.python_version()
    assert torch.__version__.startswith(known["torch"])
    assert {"transformers", "safetensors", "compressed-tensors"} <= known.keys()


def test_the_date_is_that_of_utc():
    before = datetime.datetime.now(datetime.UTC).date()
    assert before <= datetime.date.fromisoformat(today()) <= datetime.datetime.now(datetime.UTC).date()
