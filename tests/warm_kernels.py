"""Kernels of notebooks that need not import torch, pandas and matplotlib first.

Each notebook gets a kernel of its own, with an empty namespace and a fresh ``cmlib``. But starting
one by itself takes five seconds of processor time for packages of others. Therefore a process (the
server) imports these once, and every kernel is a fork of it. Jupyter starts a kernel by a command;
here this command (the client) asks the server for one, and ends when the kernel ends.

``python tests/warm_kernels.py serve SOCKET`` and ``... start SOCKET CONNECTION_FILE``.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path


def import_packages() -> None:
    """What the kernels share; nothing of this project, and nothing that starts a thread."""
    import av  # noqa: F401
    import ipykernel.kernelapp  # noqa: F401
    import ipywidgets  # noqa: F401
    import librosa.feature  # noqa: F401
    import lightning_fabric  # noqa: F401
    import matplotlib.backends.backend_agg  # noqa: F401
    import matplotlib.backends.backend_pdf  # noqa: F401
    import matplotlib.backends.backend_svg  # noqa: F401
    import scipy.signal  # noqa: F401
    import seaborn  # noqa: F401
    import sklearn.linear_model  # noqa: F401
    import sklearn.model_selection  # noqa: F401
    import statsmodels.formula.api  # noqa: F401
    import torchaudio  # noqa: F401


def serve(path: str) -> None:
    """Fork a kernel for every client; end when the standard input ends."""
    import_packages()
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        print("ready", flush=True)
        threading.Thread(target=_end_with, args=(sys.stdin.fileno(), server), daemon=True).start()
        while True:
            try:
                client, _ = server.accept()
            except OSError:  # closed by the thread
                break
            with client:
                request = json.loads(client.makefile().readline())
                if os.fork() == 0:
                    server.close()
                    _become_kernel(client, request)
            with contextlib.suppress(ChildProcessError):  # collect those that have ended
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()


def _end_with(standard_input: int, server: socket.socket) -> None:
    while os.read(standard_input, 1):
        pass
    server.shutdown(socket.SHUT_RDWR)


def _become_kernel(client: socket.socket, request: dict) -> None:
    """What a new interpreter would do for ``python -m ipykernel_launcher -f CONNECTION_FILE``."""
    from ipykernel import kernelapp

    os.setsid()
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    sys.path[:] = ["", *os.environ.get("PYTHONPATH", "").split(os.pathsep), *sys.path[1:]]
    sys.argv = ["ipykernel_launcher", *request["arguments"]]

    def end_with_client() -> None:
        client.recv(1)
        os._exit(1)

    threading.Thread(target=end_with_client, daemon=True).start()
    kernelapp.launch_new_instance()
    os._exit(0)


def start(path: str, arguments: list[str]) -> None:
    """Ask the server at ``path`` for a kernel with these ``arguments``, and wait for its end."""
    request = {"arguments": arguments, "environment": dict(os.environ), "folder": os.getcwd()}
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        server.sendall(json.dumps(request).encode() + b"\n")
        server.recv(1)


@contextlib.contextmanager
def warm_kernels(folder: Path, settings: dict[str, str]) -> Iterator[dict[str, str]]:
    """A server in ``folder``; yields the environment in which Jupyter's kernels come from it.

    ``settings`` are what its packages are to find in their environment.
    """
    path = folder / "kernels.socket"
    command = [sys.executable, __file__]
    specification = folder / "jupyter" / "kernels" / "python3" / "kernel.json"
    specification.parent.mkdir(parents=True)
    # The client imports nothing, so it needs no packages (-S) and no environment of Python's (-E).
    argv = [sys.executable, "-S", "-E", __file__, "start", str(path), "-f", "{connection_file}"]
    specification.write_text(
        json.dumps({"argv": argv, "display_name": "warm", "language": "python"})
    )
    with subprocess.Popen(
        [*command, "serve", str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | settings,
    ) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == "ready\n", "the server of kernels could not start"
        yield {"JUPYTER_PATH": str(specification.parents[2])}
        server.communicate()  # ends its standard input, and waits


if __name__ == "__main__":
    if sys.argv[1] == "serve":
        serve(sys.argv[2])
    else:
        start(sys.argv[2], sys.argv[3:])
