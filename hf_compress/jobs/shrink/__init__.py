"""A trained model, made smaller without training."""

from hf_compress.jobs.shrink import recipe  # noqa: F401 (declaring a job registers it)
