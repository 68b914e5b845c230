"""Execute one notebook with parameters.

The command is ``python -m tools.notebooks.execute SOURCE TARGET -p profile smoke``; Snakemake and
the tests use it, too. papermill does the work. What is added here: a misspelt parameter is an
error, the kernel and the working directory are explicit, and a failure prints two lines while its
traceback stays in the executed notebook.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import sys
import time
from pathlib import Path
from urllib.parse import quote

from cmlib.experiment.notebook_parameters import PARAMETERS
from cmlib.files import (
    PlaceError,
    is_disk_full,
    make_folder,
    remedy_of_full_disk,
    write_text,
)
from cmlib.locks import locked
from cmlib.provenance import Provenance
from tools.notebooks.staleness import NOTEBOOKS, changes, of_notebook, record_beside


class NotebookError(RuntimeError):
    """A notebook that could not be executed.

    The message names the notebook, the cell and the error, and says where the traceback is.
    """


def execute(source: Path, target: Path, parameters: dict, progress: bool = False) -> float:
    """Execute ``source`` into ``target``, in the folder of ``source``; return the seconds it took.

    NotebookError where a parameter is not one of ``PARAMETERS`` or is unknown to the notebook, where
    the target is the source itself, and where a cell fails.
    """
    # Imported here, because a misspelt command line need not wait half a second for them.
    leave_out_grammar_of_addresses()
    import papermill
    from nbclient.exceptions import DeadKernelError

    started = time.monotonic()
    if target.exists() and target.samefile(source):
        raise NotebookError(f"{target}: would overwrite the notebook itself; name another file")
    known = papermill.inspect_notebook(str(source))
    unknown = [name for name in parameters if name not in PARAMETERS or name not in known]
    if unknown:
        raise NotebookError(
            f"{source}: has no parameter {', '.join(unknown)}; "
            f"it knows {', '.join(known) or 'none'}"
        )
    make_folder(target.parent)
    try:
        papermill.execute_notebook(
            str(source),
            str(target),
            parameters,
            kernel_name="python3",
            cwd=str(source.parent),
            progress_bar=progress,
            # A kernel's notices about its transport interest nobody.
            extra_arguments=["--IPKernelApp.log_level=50"],
        )
    except papermill.PapermillExecutionError as error:
        line = f"{error.ename}: {error.evalue}".splitlines()[0][:300]
        raise NotebookError(
            f"{source}: cell [{error.exec_count}] failed: {line}\n    traceback: {target}"
        ) from None
    except DeadKernelError:
        raise NotebookError(
            f"{source}: its kernel died, as happens when the system ends it for want of memory; "
            "free some, or choose a smaller PROFILE, and start again: trained networks are kept"
        ) from None
    except OSError as error:
        if not is_disk_full(error, target.parent):
            raise
        raise NotebookError(f"{target}: {remedy_of_full_disk(target.parent)}") from None
    redirect_links(source, target)
    return time.monotonic() - started


def leave_out_grammar_of_addresses() -> None:
    """Let jsonschema, by which nbformat checks notebooks, do without a grammar of web addresses.

    It would compile it for two seconds whenever it is imported, and the schema of notebooks asks for
    no such check. jsonschema takes the package that holds it as one that is not installed.
    """
    sys.modules.setdefault("rfc3987_syntax", None)  # pyright: ignore[reportArgumentType]


def redirect_links(source: Path, executed: Path) -> None:
    """Let pictures and links of an executed notebook lead where those of its source lead.

    They are relative to the folder of the source, and the executed notebook lies in another one.
    Only what begins with ``../`` is changed, in the prose.
    """
    here, there = source.resolve().parent, executed.resolve().parent
    if here == there:
        return
    # A space or a bracket in a path would end the link.
    prefix = quote(Path(os.path.relpath(here.parent, there)).as_posix())
    book = json.loads(executed.read_text(encoding="utf-8"))
    for cell in book["cells"]:
        if cell["cell_type"] == "markdown":
            prose = "".join(cell["source"])
            cell["source"] = prose.replace("](../", f"]({prefix}/")
    write_text(executed, json.dumps(book, indent=1, ensure_ascii=False) + "\n")


def duration(seconds: float) -> str:
    """Seconds in words: "42 s", "3 min 05 s", "2 h 10 min"."""
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def memory_of_kernel() -> float | None:
    """The most memory, in megabytes, that a kernel of this process has had; None on Windows.

    Of several kernels it is the largest. Only those that have ended count.
    """
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    return most / 1e6 if sys.platform == "darwin" else most * 1024 / 1e6  # bytes, or kibibytes


def main(arguments: list[str] | None = None) -> int:
    """Execute the notebook that the arguments name; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.notebooks.execute",
        description="Execute one notebook with parameters.",
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    parser.add_argument(
        "-p", nargs=2, action="append", default=[], metavar=("NAME", "VALUE"), dest="parameters"
    )
    options = parser.parse_args(arguments)
    parameters = {name: PARAMETERS.get(name, str)(value) for name, value in options.parameters}
    os.environ.setdefault("MPLBACKEND", "agg")

    def say(text: str, stream=sys.stdout) -> None:
        line = f"{datetime.datetime.now():%H:%M:%S}  {options.source.stem:26s} {text}"
        print(line, file=stream, flush=True)

    record = _record(options.source, parameters)
    reasons = changes(options.target, record) if record else []
    say(f"started again: {reasons[0]}" + _more(reasons[1:]) if reasons else "started")
    # Snakemake may have been killed while this notebook went on. The lock belongs to the process
    # that writes, so a second one waits for it.
    lock = options.target.with_suffix(".lock")
    try:
        with locked(lock, f"executing {options.source.stem}"):
            seconds = execute(
                options.source, options.target, parameters, progress=sys.stderr.isatty()
            )
    except (NotebookError, PlaceError) as error:
        say(f"FAILED  {error}", sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("interrupted", sys.stderr)
        return 130
    if record:
        write_text(record_beside(options.target), json.dumps(record.to_json(), indent=1) + "\n")
    memory = memory_of_kernel()
    say(f"done in {duration(seconds)}" + (f", at most {memory:.0f} MB of memory" if memory else ""))
    return 0


def _record(source: Path, parameters: dict) -> Provenance | None:
    """What the results of a notebook are made from; None for a notebook of another project."""
    if source.stem not in NOTEBOOKS:
        return None
    chosen = {"corpus": "actors", "profile": "quick", "fold": 1, "seed": 0} | parameters
    return of_notebook(source, chosen["corpus"], chosen["profile"], chosen["fold"], chosen["seed"])


def _more(lines: list[str]) -> str:
    return f", and {len(lines)} more" if lines else ""


if __name__ == "__main__":
    sys.exit(main())
