"""Python in a process that has torch and transformers and has never seen this package."""

from tests.distributed.launch import server

LOADED = (
    "torch",
    "transformers.generation.utils",
    "transformers.models.auto.modeling_auto",
    "transformers.models.llama.modeling_llama",
    "transformers.pipelines",
)


def alone(folder, code, *arguments):
    """What `code` printed and complained of; it is written to a file in `folder`, and failed where it raised.

    The process is forked from one that has loaded the libraries, which takes an interpreter longer than most checks do.
    """
    script = folder / "alone.py"
    script.write_text(code, encoding="utf-8")
    return server(*LOADED).run(str(script), *map(str, arguments), processes=1)
