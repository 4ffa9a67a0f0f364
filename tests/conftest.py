"""No network, no surprises: set before any library is imported."""

import atexit
import functools
import gc
import importlib.metadata
import os
import shutil
import tempfile

# What `datasets` converts from the tests' files is of no use to anybody afterwards.
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="hf-compress-tests-")
atexit.register(shutil.rmtree, os.environ["HF_DATASETS_CACHE"], ignore_errors=True)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
# One thread a process. Not asked of torch: what only hands tests out to other processes loads no library.
os.environ["OMP_NUM_THREADS"] = os.environ["MKL_NUM_THREADS"] = "1"

# accelerate reads what is known of a package at every save of a model, which takes a tenth of a save.
importlib.metadata.metadata = functools.cache(importlib.metadata.metadata)

import pytest  # noqa: E402

from tests.budget import Clock  # noqa: E402
from tests.command_line import call, refused  # noqa: E402, F401 (fixtures for every folder)
from tests.on_local_hub import local_hub  # noqa: E402, F401

_CLOCK = Clock()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item):
    _CLOCK.begin(item)
    _leave_what_stays_to_itself(item.path)


@functools.lru_cache(maxsize=1)
def _leave_what_stays_to_itself(path):
    """Once per file, let the garbage collection pass over what is there by now: libraries, and thousands of tests.

    Every `Trainer.train` collects, which costs longer than its few steps where all of that is walked through.
    """
    gc.collect()
    gc.freeze()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item):
    report = yield
    _CLOCK.end(item, report)
    return report


def pytest_runtest_logreport(report):
    _CLOCK.add(report)


def pytest_terminal_summary(terminalreporter):
    if _CLOCK.cases:
        terminalreporter.section("CPU seconds by folder")
        for line in _CLOCK.lines():
            terminalreporter.write_line(line)
