"""A trained model, pruned without training."""

from hf_compress.jobs.prune import recipe  # noqa: F401 (declaring a job registers it)
