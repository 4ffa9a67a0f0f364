"""With what something was made, and when."""

import datetime
import platform

import torch

import hf_compress
from hf_compress._provenance import describe_machine, processor, today, versions


def test_versions_are_those_that_compute_here():
    known = versions()
    assert known["hf_compress"] == hf_compress.__version__
    assert known["python"] == platform.python_version()
    assert torch.__version__.startswith(known["torch"])
    assert {"transformers", "safetensors", "compressed-tensors"} <= known.keys()


def test_the_date_is_that_of_utc():
    before = datetime.datetime.now(datetime.UTC).date()
    assert before <= datetime.date.fromisoformat(today()) <= datetime.datetime.now(datetime.UTC).date()


def test_a_report_names_the_processor_and_what_was_computed_with():
    setting = describe_machine(torch.device("cpu"))
    assert setting["machine"].startswith(f"{processor()}, ") and setting["machine"].endswith(" cores")
    known = versions()
    assert setting["versions"].split(", ")[:2] == [f"Python {known['python']}", f"torch {known['torch']}"]
    assert setting["date"] == today()
