"""A wrong argument in one line: what is wrong, and what could stand there instead."""

from __future__ import annotations

from cyclopts import (
    App,
    CycloptsError,
    MissingArgumentError,
    UnknownCommandError,
    UnknownOptionError,
    UnusedCliTokensError,
)


def explain(error: CycloptsError) -> str:
    """The line for stderr: ``cm train: Invalid value "eye" for STAGE. Choose from: ...``."""
    command = " ".join(["cm", *(error.command_chain or ())])
    if isinstance(error, UnknownCommandError):
        message = _unknown_command(error)
    elif isinstance(error, UnknownOptionError):
        options = (
            argument.name
            for argument in error.argument_collection
            if argument.field_info.is_keyword
        )
        message = f"{error} Choose from: {', '.join(options)}."
    elif isinstance(error, UnusedCliTokensError):
        unexpected = " ".join(error.unused_tokens or ())
        message = f'Unexpected argument "{unexpected}". {command} --help lists the arguments.'
    elif isinstance(error, MissingArgumentError):
        message = _missing_argument(error)
    else:
        message = str(error)
    return f"{command}: {' '.join(message.split())}"


def printable(text: str) -> str:
    """Text in one line: what would move the cursor or break the line is written as an escape.

    The name of a file may hold line ends, control sequences, or bytes that are no text.
    """
    return "".join(char if char.isprintable() else ascii(char)[1:-1] for char in text)


def _unknown_command(error: UnknownCommandError) -> str:
    """The message of cyclopts, but with all commands; cyclopts names only the first eight."""
    message, _, _ = str(error).partition(" Available commands:")
    return f"{message} Choose from: {', '.join(commands_of(error.app))}."


def _missing_argument(error: MissingArgumentError) -> str:
    argument = error.argument
    assert argument is not None  # cyclopts knows which argument is missing
    choices = argument.get_choices(force=True)
    message = f"{error.keyword or argument.name} needs a value."
    return f"{message} Choose from: {', '.join(choices)}." if choices else message


def commands_of(app: App | None) -> list[str]:
    """Names of the commands of ``app``, without --help and --version."""
    return [name for name in app or () if not name.startswith("-")]
