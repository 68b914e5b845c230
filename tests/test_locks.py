"""Locks belong to the process that works; what stands in the way is one line with its remedy."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from cmlib import files
from cmlib.files import PlaceError
from cmlib.locks import HeldError, hold, locked
from tools.notebooks import execute

HOLD_IT = """
import sys, time
from pathlib import Path
from cmlib.locks import hold
lock = hold(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(float(sys.argv[2]))
"""


@pytest.fixture
def holder(tmp_path):
    """A process that holds a lock for so many seconds."""
    processes = []

    def start(path, seconds):
        command = [sys.executable, "-c", HOLD_IT, str(path), str(seconds)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=files.ROOT)
        assert process.stdout.readline() == "held\n"
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_a_lock_ends_with_its_process_even_if_it_is_killed(tmp_path, holder):
    path = tmp_path / "work.lock"
    process = holder(path, 60)
    with pytest.raises(HeldError, match="work.lock: another process holds this lock"):
        hold(path, wait=False)
    process.kill()
    process.wait()
    hold(path, wait=False).release()


def test_others_wait_and_say_for_what(tmp_path, holder, capsys):
    path = tmp_path / "work.lock"
    holder(path, 1)
    started = time.monotonic()
    with locked(path, "counting sheep"):
        assert time.monotonic() - started > 0.5
    assert f"another process is counting sheep: waiting for it ({path})" in capsys.readouterr().err
    with locked(path, "counting sheep"):
        pass
    assert capsys.readouterr().err == ""  # nobody held it


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_not_another_process(tmp_path, monkeypatch, capsys, number):
    def refuse(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", refuse)
    done = []
    with locked(tmp_path / "work.lock", "counting sheep"):
        done.append(True)
    assert done and f"{tmp_path}: this file system has no locks" in capsys.readouterr().err


def test_without_flock_a_file_takes_its_place(tmp_path, monkeypatch):
    """filelock does this by itself; the lock still keeps two holders apart."""

    def missing(*arguments):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", missing)
    with locked(tmp_path / "work.lock", "counting sheep"):
        with pytest.raises(HeldError):
            hold(tmp_path / "work.lock", wait=False)


@pytest.mark.parametrize(
    "number, remedy",
    [(errno.EIO, "set CM_RUNS to a folder of your own"), (errno.ENOSPC, "the disk is full; make")],
)
def test_a_lock_that_fails_names_its_path(tmp_path, monkeypatch, number, remedy):
    monkeypatch.setenv("CM_RUNS", str(tmp_path))

    def fail(*arguments):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", fail)
    with pytest.raises(PlaceError, match=remedy) as caught:
        hold(tmp_path / "work.lock")
    assert str(caught.value).startswith(f"{tmp_path / 'work.lock'}: ")


def test_a_folder_that_is_not_ours_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PlaceError, match="nothing may be written into it"):
        hold(tmp_path / "work.lock")


# -------------------------------------------------------------------- full disks


def test_a_full_disk_is_one_line_with_its_remedy(tmp_path, monkeypatch):
    monkeypatch.setenv("CM_RUNS", str(tmp_path))
    path = tmp_path / "numbers.json"
    files.write_text(path, "before")

    def fail():
        with files.write_atomically(path) as temporary:
            temporary.write_text("torn")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(PlaceError) as caught:
        fail()
    line = str(caught.value)
    assert line.startswith(f"{path}: the disk is full; make room, or set CM_RUNS to a folder on")
    assert "\n" not in line and path.read_text() == "before" and list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() or not os.path.exists("/bin/mount"),
    reason="needs root",
)
@pytest.mark.parametrize("kind", ["weights", "state", "history"])
def test_what_a_training_writes_on_a_disk_that_is_really_full(tmp_path, kind):
    from cmlib import checkpoints
    from cmlib.models import Classifier
    from cmlib.training import loop

    small = tmp_path / "small"
    small.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("no tmpfs can be mounted here")
    network = Classifier(40_000, 2)  # 320 kB
    try:
        with pytest.raises(PlaceError, match="the disk is full; make room, or choose a larger one"):
            if kind == "weights":
                checkpoints.save(small / "net", network, {})
            elif kind == "history":
                loop.open_log(small / "net.history.csv", 0)([{"epoch": i} for i in range(30_000)])
            else:
                loop.save_state(small / "face.state.pt", [network], [], [], None)
        assert list(small.iterdir()) == []
    finally:
        # Lazily: the error that pytest has caught still holds the file open.
        subprocess.run(["umount", "--lazy", str(small)], check=True)


# -------------------------------------------------------------------- notebooks


def notebook(path: Path, code: str) -> Path:
    book = nbformat.v4.new_notebook()
    book.cells = [nbformat.v4.new_code_cell(code)]
    nbformat.write(book, path)
    return path


def test_a_dead_kernel_is_one_line_with_its_remedy(tmp_path):
    source = notebook(
        tmp_path / "x.ipynb", "import os, signal\nos.kill(os.getpid(), signal.SIGKILL)"
    )
    with pytest.raises(execute.NotebookError) as caught:
        execute.execute(source, tmp_path / "out" / "x.ipynb", {})
    line = str(caught.value)
    assert line.startswith(f"{source}: its kernel died") and "smaller PROFILE" in line
    assert "\n" not in line


def test_a_full_disk_under_a_notebook_is_one_line(tmp_path, monkeypatch, capsys):
    import papermill

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(papermill, "execute_notebook", full)
    source, target = notebook(tmp_path / "x.ipynb", "1"), tmp_path / "out" / "x.ipynb"
    assert execute.main([str(source), str(target)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{target}: the disk is full; make room" in line


def test_a_second_execution_of_a_notebook_waits(tmp_path, holder, monkeypatch, capsys):
    """Snakemake was killed, and its notebook goes on: nobody writes beside it."""
    source, target = notebook(tmp_path / "x.ipynb", "1"), tmp_path / "x-executed.ipynb"
    holder(target.with_suffix(".lock"), 1)
    started = time.monotonic()
    monkeypatch.setattr(execute, "execute", lambda *a, **o: time.monotonic() - started)
    assert execute.main([str(source), str(target)]) == 0
    assert time.monotonic() - started > 0.5
    assert "another process is executing x: waiting for it" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
def test_a_kernel_does_not_outlive_its_notebook(tmp_path):
    """The lock is its executor's. So the kernel, which writes, has to end with the executor."""
    code = f"import os, time\nopen({str(tmp_path / 'pid')!r}, 'w').write(str(os.getpid()))\n"
    source = notebook(tmp_path / "x.ipynb", code + "time.sleep(300)")
    command = [sys.executable, "-m", "tools.notebooks.execute", source, tmp_path / "y.ipynb"]
    process = subprocess.Popen(command, cwd=files.ROOT, stdout=subprocess.DEVNULL)
    number = tmp_path / "pid"
    while not number.exists() or not number.read_text():
        assert process.poll() is None
        time.sleep(0.1)
    kernel = int(number.read_text())
    process.send_signal(signal.SIGKILL)
    process.wait()
    for _ in range(300):
        if not alive(kernel):
            return
        time.sleep(0.1)
    os.kill(kernel, signal.SIGKILL)
    pytest.fail("the kernel goes on without its notebook")


def alive(number: int) -> bool:
    try:
        os.kill(number, 0)
    except ProcessLookupError:
        return False
    return True
