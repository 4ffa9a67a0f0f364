"""Processes that train together and load the libraries once: `python forked.py PROCESSES SCRIPT ARGUMENTS...`.

torchrun starts an interpreter for itself and one for each process, and loading torch and transformers takes each of them
longer than most runs of the tests. Here one loads them and forks, before there are threads or groups; scripts find the
environment that torchrun gives. Where one fails the others are ended.
"""

import os
import runpy
import signal
import sys
import traceback

import accelerate
import datasets
import transformers.trainer_seq2seq
import transformers.utils.generic

import hf_compress.training.trainer

LOADED = (accelerate, datasets, transformers.trainer_seq2seq, transformers.utils.generic, hf_compress.training.trainer)


def run(rank: int, processes: int, script: str, arguments: list[str]) -> int:
    own = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": processes, "LOCAL_WORLD_SIZE": processes}
    os.environ.update({name: str(value) for name, value in own.items()})
    sys.argv = [script, *arguments]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(bool(error.code))
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def main() -> int:
    processes, script, arguments = int(sys.argv[1]), sys.argv[2], sys.argv[3:]
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


if __name__ == "__main__":
    sys.exit(main())
