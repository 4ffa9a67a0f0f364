"""How tests start processes that train together: by torchrun, by accelerate, and forked from one that is loaded."""

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

from filelock import FileLock

ROOT = Path(__file__).parents[2]
PATIENCE_S = 900


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return str(listener.getsockname()[1])


def environment():
    """That of this process, at this moment."""
    return {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }


def start(command):
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=PATIENCE_S)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    return done.stdout


def torchrun(*arguments):
    """What they printed."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", free_port()]
    return start([*launch, *arguments])


def accelerate(*arguments):
    """What they printed."""
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    return start([*launch, "--main_process_port", free_port(), *arguments])


class Server:
    """The process that is loaded, see forked.py; one serves all tests of a process that want the same modules in it."""

    cpu_s = 0.0
    """What those that have not ended have taken; of those that have, the system knows."""

    def __init__(self, *modules):
        self.process = subprocess.Popen(
            [sys.executable, "tests/distributed/forked.py", *modules],
            cwd=ROOT,
            env=environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self.taken_s = 0.0

    def run(self, script, *arguments, processes=2):
        """What all of them printed and complained of, which is shown where one failed."""
        with tempfile.NamedTemporaryFile("r", suffix=".txt") as output:
            own = {**environment(), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": free_port()}
            order = {"processes": processes, "script": script, "arguments": arguments, "environment": own}
            self.process.stdin.write(json.dumps({**order, "output": output.name}) + "\n")
            self.process.stdin.flush()
            if not select.select([self.process.stdout], [], [], PATIENCE_S)[0]:
                os.killpg(self.process.pid, signal.SIGKILL)
            line = self.process.stdout.readline()
            said = output.read()
        assert line, f"{script} took more than {PATIENCE_S} s, or the server ended: {said[-8000:]}"
        answer = json.loads(line)
        Server.cpu_s += answer["cpu_s"] - self.taken_s
        self.taken_s = answer["cpu_s"]
        assert answer["code"] == 0, said[-8000:]
        return said

    def end(self):
        self.process.stdin.close()
        self.process.wait()
        Server.cpu_s -= self.taken_s


_SERVERS: dict[tuple[str, ...], Server] = {}


def server(*modules):
    """The one that has loaded these modules, or else those that nearly every script comes to load."""
    if modules not in _SERVERS or _SERVERS[modules].process.poll() is not None:
        _SERVERS[modules] = Server(*modules)
        atexit.register(_SERVERS[modules].end)
    return _SERVERS[modules]


def forked(script, *arguments, processes=2):
    """As torchrun, for what is not about starting: the libraries are loaded once for all tests."""
    return server().run(script, *arguments, processes=processes)


def forked_from_a_new_one(script, *arguments, processes=2):
    """Where the environment must be known when the interpreter begins."""
    new = Server()
    try:
        return new.run(script, *arguments, processes=processes)
    finally:
        new.end()


def made_once(tmp_path_factory, name, make):
    """A folder of that name with what `make(folder)` leaves there; made by one worker of the suite and read by all."""
    root = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        root = root.parent
    folder = root / name
    with FileLock(f"{folder}.lock"):
        if not (folder / "made").exists():
            folder.mkdir(exist_ok=True)
            make(folder)
            (folder / "made").touch()
    return folder
