"""What each layer of a model costs where it is pruned, and the allocation that follows."""

from hf_compress.jobs.sensitivity import recipe  # noqa: F401 (declaring a job registers it)
