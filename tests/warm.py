"""A `python` whose libraries are imported already, for tests that run dvc and stages at toy size, where imports take longest.

`python -m dvc ...`, `python -m stages.NAME ...` and `python -m toycrystals.cli ...` become forks of a process that has imported
what they need, with the working directory, environment, streams and arguments of the caller.
Any other command line is passed to the interpreter itself. What a signal or a killed parent does to a program is for tests with
the interpreter.
"""

import atexit
import os
import runpy
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PRELOADED = (
    "dvc.cli", "dvc.repo", "dvc.commands.repro", "dvc.repo.reproduce", "dvc.repo.experiments", "dvc.stage.run", "dvc_data.index",
    "jinja2", "matplotlib.figure", "matplotlib.backends.backend_agg", "numba", "pandas", "PIL.Image", "psutil", "pydantic",
    "ruamel.yaml", "safetensors.torch", "scipy.ndimage", "scipy.spatial", "torch", "torch._dynamo", "typer", "vl_convert",
)  # fmt: skip
CLIENT = """
import os, socket, sys
module = sys.argv[2] if sys.argv[1:2] == ["-m"] and len(sys.argv) > 2 else ""
if not (module in ("dvc", "toycrystals.cli") or module.startswith("stages.")):
    os.execv({python!r}, [{python!r}, *sys.argv[1:]])
request = "\\0\\0".join("\\0".join(part) for part in (
    sys.argv[1:], [os.getcwd()], [f"{{name}}={{value}}" for name, value in os.environ.items()])).encode()
with socket.socket(socket.AF_UNIX) as server:
    server.connect({address!r})
    socket.send_fds(server, [len(request).to_bytes(8, "big")], [0, 1, 2])
    server.sendall(request)
    code = server.recv(4)
sys.exit(int.from_bytes(code, "big") if code else 1)
"""


@contextmanager
def warm_python() -> Iterator[Path]:
    """The program to call instead of `python`; whoever calls it first waits for the imports."""
    with tempfile.TemporaryDirectory(prefix="warm-") as folder, socket.socket(socket.AF_UNIX) as server:
        address, client, program = f"{folder}/socket", Path(folder, "client.py"), Path(folder, "python")
        client.write_text(CLIENT.format(python=sys.executable, address=address))
        # Without `site`, for it is to start at once, and without the caller's PYTHONPATH.
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -IS {client} "$@"\n')
        program.chmod(0o755)
        server.bind(address)
        server.listen()
        with subprocess.Popen([sys.executable, __file__, str(server.fileno())], pass_fds=[server.fileno()]) as process:
            try:
                yield program
            finally:
                process.terminate()


def serve(server: socket.socket) -> None:
    """Answer every connection with a fork, as long as the process that started this one is there."""
    parent = os.getppid()
    for module in PRELOADED:
        __import__(module)
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    server.settimeout(1)
    while os.getppid() == parent:
        with suppress(TimeoutError):
            connection, _ = server.accept()
            if os.fork() == 0:
                server.close()
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                answer(connection)
                os._exit(0)
            connection.close()


def answer(connection: socket.socket) -> None:
    """Run what the connection asks for in a fork, and send its exit code."""
    connection.setblocking(True)
    size, streams, *_ = socket.recv_fds(connection, 8, 3)
    request = b""
    while len(request) < int.from_bytes(size, "big"):
        received = connection.recv(1 << 16)
        if not received:
            return
        request += received
    child = os.fork()
    if child == 0:
        connection.close()
        arguments, [folder], environment = (part.split("\0") for part in request.decode().split("\0\0"))
        os._exit(run(arguments, folder, dict(line.split("=", 1) for line in environment), streams))
    _, status = os.waitpid(child, 0)
    connection.sendall((os.waitstatus_to_exitcode(status) % 256).to_bytes(4, "big"))


def run(arguments: list[str], folder: str, environment: dict[str, str], streams: list[int]) -> int:
    """What `python ARGUMENTS` does; its exit code."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[0:1] = [folder, *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    sys.orig_argv = [sys.executable, *arguments]
    sys.argv = arguments[1:]
    try:
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    with suppress(Exception):
        atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    return code


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
