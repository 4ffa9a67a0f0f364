"""A process that has loaded the libraries and forks others, which train together: `python forked.py`, told by its input.

With names of modules, `python forked.py torch`, it loads these and no others.

torchrun starts an interpreter for itself and one for each process, and loading torch and transformers takes each of them
longer than most runs of the tests. Here one process loads them for all tests and forks for each order, before there are
threads or groups; scripts find the environment that torchrun gives. Where one process fails the others are ended.

An order is a line of JSON: {processes, script, arguments, environment, output}, the last a file. The answer is a line too:
{code, cpu_s}, the second what the server and all that it forked have taken so far.
"""

import functools
import gc
import importlib
import importlib.metadata
import importlib.util
import json
import os
import runpy
import signal
import sys
import threading
import traceback
from pathlib import Path

LOADED = (
    "accelerate",
    "datasets",
    "matplotlib.pyplot",
    "peft",
    "transformers.trainer_seq2seq",
    "transformers.models.gpt2.modeling_gpt2",
    "transformers.models.llama.modeling_llama",
    "compressed_tensors.compressors",
    "hf_compress.jobs.train.run",
    "hf_compress.training.trainer",
)
"""What nearly every script comes to load."""


def load(modules: list[str]) -> None:
    importlib.metadata.metadata = functools.cache(importlib.metadata.metadata)  # as in tests/conftest.py
    for name in modules or LOADED:
        importlib.import_module(name)
    if not modules and importlib.util.find_spec("deepspeed"):  # transformers looks at it wherever a model is saved
        os.environ["DS_ACCELERATOR"] = "cpu"
        importlib.import_module("deepspeed.runtime.zero.muon.muon_optimizer")  # as its first engine does
    assert threading.active_count() == 1, "a thread would be missing in what is forked"


def run(rank: int, processes: int, script: str, arguments: list[str]) -> int:
    """One of the processes, in the place of its interpreter."""
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    os.environ.update({name: str(value) for name, value in own.items()})
    sys.argv = [script, *arguments]
    sys.path[0] = str(Path(script).resolve().parent)
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(bool(error.code))
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def together(processes: int, script: str, arguments: list[str]) -> int:
    """Fork them and wait: 0, or 1 where one has failed."""
    children = {}
    for rank in range(processes):
        number = os.fork()
        if number == 0:
            code = run(rank, processes, script, arguments)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
        children[number] = rank
    failed = 0
    while children:
        number, status = os.wait()
        rank = children.pop(number)
        if status != 0 and not failed:
            failed = 1
            sys.stderr.write(f"process {rank} ended with {os.waitstatus_to_exitcode(status)}\n")
            for other in children:
                os.kill(other, signal.SIGTERM)
    return failed


def obey(processes: int, script: str, arguments: list[str], environment: dict[str, str], output: str) -> int:
    """In a process of its own, so that nothing of it is there for the next order."""
    said = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for source, target in ((nothing, 0), (said, 1), (said, 2)):
        os.dup2(source, target)
    os.environ.clear()
    os.environ.update(environment)
    return together(processes, script, arguments)


def cpu_s() -> float:
    return sum(os.times()[:4])


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    load(sys.argv[1:])
    gc.freeze()  # every training collects, and would walk through the libraries
    for line in sys.stdin:
        number = os.fork()
        if number == 0:
            os._exit(obey(**json.loads(line)))
        _, status = os.waitpid(number, 0)
        answers.write(json.dumps({"code": os.waitstatus_to_exitcode(status), "cpu_s": cpu_s()}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
