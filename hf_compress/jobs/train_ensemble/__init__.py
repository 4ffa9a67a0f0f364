"""Several models are trained from one recipe, and become one that asks them all."""

from hf_compress.jobs.train_ensemble import recipe  # noqa: F401 (declaring a job registers it)
