"""Members of a registry, made as contract tests need them."""

import importlib


def example(cls, folder):
    """A member with its defaults, or what `example(folder)` makes in the test of its own name.

    Args:
        cls: a built-in strategy.
        folder: for the files that it names.
    """
    package, _, name = cls.__module__.removeprefix("hf_compress.").rpartition(".")
    own = importlib.import_module(f"tests.{package}.test_{name}")
    return own.example(folder) if hasattr(own, "example") else cls()
