"""The command ``cm``: one function per command, whose signature gives the arguments.

``cm --help`` has to answer at once, so this package imports nothing that loads torch or pandas.
A command does that when it runs.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError, Group, Parameter

from cmlib import __version__
from cmlib.cli import data, evaluate, figures, pictures, train, use
from cmlib.cli.errors import explain, printable

DONE, FAILED, WRONG_ARGUMENTS, INTERRUPTED = 0, 1, 2, 130  # exit statuses; 130 is 128 + SIGINT

COMMANDS = {  # the headings of `cm --help`, in this order
    "Data": (data.fetch, data.prepare, data.verify, pictures.pictures),
    "Train": (train.plan, train.train, train.pretrain, train.import_checkpoint),
    "Evaluate": (evaluate.evaluate, evaluate.congruence, evaluate.ablate),
    "Use": (use.perceive,),
    "Figures": (figures.figures,),
}


def create_app() -> App:
    """All commands of ``cm`` under their headings, with help and shell completion."""
    app = App(
        name="cm",
        help="Facial expressions in the context of a voice.",
        help_format="plaintext",
        version=__version__,
        # --train gets no counterpart --no-train, and empty defaults are not shown
        default_parameter=Parameter(negative=(), show_default=lambda default: default or None),
        suppress_keyboard_interrupt=False,  # main() says what happens to the work done so far
    )
    for heading, commands in COMMANDS.items():
        group = Group.create_ordered(heading)
        for position, command in enumerate(commands):
            app.command(command, group=group, sort_key=position)
    shell = Group.create_ordered("Shell")
    app.register_install_completion_command(
        group=shell, help="Let the Tab key complete commands and options."
    )
    for flag in ("--help", "--version"):
        app[flag].group = shell
    return app


def expand_home(argument: str) -> str:
    """The argument with the home folder in place of a leading ``~``, as in "--root=~/RAVDESS".

    A shell leaves it as it is behind an equals sign and in quotes.
    """
    option, sign, value = argument.partition("=")
    if argument.startswith("-") and sign:
        return f"{option}={os.path.expanduser(value)}"
    return os.path.expanduser(argument)


def refuse_empty(arguments: Sequence[str]) -> None:
    """SystemExit(2), after one line on stderr, if an argument is empty.

    An empty --root would be the current folder, with all that is below it.
    """
    for position, argument in enumerate(arguments):
        option, _, value = argument.partition("=")
        before = arguments[position - 1] if position else ""
        if not argument or (option.startswith("--") and argument.endswith("=") and not value):
            name = option or (before if before.startswith("-") else "an argument")
            print(f"cm: {name} is empty; is a variable of the shell not set?", file=sys.stderr)
            raise SystemExit(WRONG_ARGUMENTS)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    It is 0 after success, 1 after a failure (with one line on stderr) and 130 after Ctrl-C. A wrong
    argument raises SystemExit(2), after one line on stderr that names the choices.
    """
    if isinstance(sys.stdout, io.TextIOWrapper):
        # The name of a file may hold bytes that are no text; they are printed as \xNN.
        sys.stdout.reconfigure(errors="backslashreplace")
    argv = sys.argv[1:] if argv is None else argv
    refuse_empty(argv)
    arguments = [expand_home(argument) for argument in argv]
    try:
        status = create_app()(
            arguments, print_error=False, exit_on_error=False, result_action="return_value"
        )
    except CycloptsError as error:
        print(explain(error), file=sys.stderr)
        raise SystemExit(WRONG_ARGUMENTS) from None
    except KeyboardInterrupt:
        print(
            "\ncm: stopped; finished work is kept, and the same command resumes from there",
            file=sys.stderr,
        )
        return INTERRUPTED
    except (ValueError, RuntimeError, OSError) as error:
        lines = [printable(line) for line in str(error).split("\n")]
        print("cm: " + "\n".join(lines), file=sys.stderr)
        return FAILED
    return DONE if status is None else status
