"""Several models become one that asks them all."""

from hf_compress.jobs.ensemble import recipe  # noqa: F401 (declaring a job registers it)
