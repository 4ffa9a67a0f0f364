"""No network, no surprises: set before any library is imported."""

import atexit
import os
import shutil
import tempfile

# What `datasets` converts from the tests' files is of no use to anybody afterwards.
os.environ["HF_DATASETS_CACHE"] = tempfile.mkdtemp(prefix="hf-compress-tests-")
atexit.register(shutil.rmtree, os.environ["HF_DATASETS_CACHE"], ignore_errors=True)
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import torch  # noqa: E402

torch.set_num_threads(1)

from tests.command_line import call, refused  # noqa: E402, F401 (fixtures for every folder)
