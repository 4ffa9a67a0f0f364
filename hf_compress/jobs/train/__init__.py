"""The main job: fine-tune, prune, quantize and distil in one run."""

from hf_compress.jobs.train import member, recipe  # noqa: F401 (declaring a job registers it)
