"""Whole runs."""

from tests.undrawn import undrawn  # noqa: F401 (for every test of the folder)
