"""Merging from a recipe or a mergekit file."""

from hf_compress.jobs.merge import recipe  # noqa: F401 (declaring a job registers it)
