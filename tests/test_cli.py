"""The command line itself: help that fits a screen, and one line for every wrong argument."""

import os
import subprocess
import sys
from importlib.metadata import entry_points

import pytest

from cmlib import cli
from cmlib.cli.options import ALL_PROFILES, MAIN_PROFILES, number_range
from cmlib.config import PROFILES

COMMANDS = [
    command.__name__.replace("_", "-") for group in cli.COMMANDS.values() for command in group
]
HELP = [[], *([command] for command in COMMANDS)]


def wrong(capsys, *arguments: str) -> str:
    """The line on stderr about wrong arguments; the exit status has to be 2."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(list(arguments))
    assert stopped.value.code == 2
    out, err = capsys.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("cm")
    return err.strip()


def test_the_command_cm_is_this_one():
    (entry,) = entry_points(group="console_scripts", name="cm")
    assert entry.load() is cli.main


@pytest.mark.parametrize("arguments", HELP, ids=lambda arguments: "cm " + " ".join(arguments))
def test_help_fits_a_screen(arguments, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main([*arguments, "--help"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 40
    assert max(map(len, lines)) <= 80


def test_help_groups_all_commands_by_task(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    assert cli.main(["--help"]) == 0
    text = capsys.readouterr().out
    positions = [text.index(f"─ {group} ─") for group in cli.COMMANDS]
    assert positions == sorted(positions)
    assert all(f"│ {command} " in text for command in COMMANDS)


def test_without_a_command_there_is_help(capsys):
    assert cli.main([]) == 0
    assert "Usage: cm COMMAND" in capsys.readouterr().out


def test_help_loads_no_torch():
    code = (
        "import sys; from cmlib.cli import main; main(['train', '--help']); "
        "print([m for m in ('torch', 'pandas', 'numpy', 'matplotlib') if m in sys.modules])"
    )
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-1] == "[]"


def test_python_m_is_the_same(tmp_path):
    command = [sys.executable, "-m", "cmlib.cli", "plan", "quik"]
    process = subprocess.run(command, capture_output=True, text=True, env=os.environ)
    assert process.returncode == 2 and process.stderr.startswith("cm plan: ")


def test_a_wrong_command_names_all_commands(capsys):
    line = wrong(capsys, "trian")
    assert 'Did you mean "train"?' in line
    assert all(command in line for command in COMMANDS)


@pytest.mark.parametrize(
    "arguments, options",
    [
        (["train", "all"], ["--corpus", "--profile", "--fold", "--seed", "--devices", "--log"]),
        (["prepare", "actors"], ["--root", "--profile", "--cache", "--workers", "--sheet"]),
        (["fetch", "ravdess"], ["--actors", "--audio-only", "--root", "--url"]),
        (["evaluate"], ["--corpus", "--profile", "--fold", "--seed", "--train"]),
        (["perceive", "--image", "x", "--audio", "y"], ["--strength", "--model", "--out"]),
        (["figures"], ["--corpus", "--out", "--list"]),
    ],
    ids=lambda value: value[0],
)
def test_a_wrong_option_names_the_options(arguments, options, capsys):
    line = wrong(capsys, *arguments, "--colour", "red")
    assert line.startswith(f"cm {arguments[0]}: Unknown option: --colour.")
    _, _, named = line.partition("Choose from: ")
    assert all(option in named for option in options)


@pytest.mark.parametrize(
    "arguments, choices",
    [
        (["train", "eyes"], ["face", "voice", "classifier", "can", "all"]),
        (["train"], ["face", "voice", "classifier", "can", "all"]),
        (["train", "all", "--profile", "quik"], PROFILES),
        (["plan", "quik"], PROFILES),
        (["prepare", "actors", "--profile", "quik"], PROFILES),
        (["train", "all", "--fold", "6"], ["0", "1", "2", "3", "4", "5"]),
        (["evaluate", "--fold", "6"], ["1", "5", "all"]),
        (["train", "all", "--precision", "16"], ["auto", "32-true", "bf16-mixed"]),
        (["train", "all", "--log", "xml"], ["csv", "tensorboard"]),
        (["fetch", "mead"], ["ravdess"]),
        (["fetch"], ["ravdess"]),
        (["import-checkpoint", "x.ckpt", "--corpus", "y"], ["actors", "mead_released"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_choice_names_the_choices(arguments, choices, capsys):
    line = wrong(capsys, *arguments)
    _, _, named = line.partition("Choose from: ")
    assert all(choice in named for choice in choices)


@pytest.mark.parametrize(
    "arguments, words",
    [
        (["train", "all", "--devices", "two"], '--devices: unable to convert "two" into int'),
        (["train", "all", "--seed", "x"], '--seed: unable to convert "x" into int'),
        (["pretrain", "--size", "big"], '--size: unable to convert "big" into int'),
        (["evaluate", "--seed", "x"], "--seed: 'x' is not a list of numbers from 0 to"),
        (["fetch", "ravdess", "--actors", "25"], "--actors: '25' is not a list of numbers from 1"),
        (
            ["fetch", "ravdess", "--actors", "4-1"],
            "--actors: '4-1' is not a list of numbers from 1",
        ),
        (["perceive", "--image", "x", "--audio", "y", "--strength", "much"], 'convert "much" into'),
        (["perceive", "--image", "x"], "--audio needs a value"),
        (["perceive", "--image"], "--image needs a value"),
        (["prepare", "actors", "mead"], 'Unexpected argument "mead"'),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_wrong_value_is_named_with_what_is_wanted(arguments, words, capsys):
    assert words in wrong(capsys, *arguments)


def test_an_interrupt_says_that_the_work_is_kept(capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("cmlib.corpora.download.fetch", interrupted)
    assert cli.main(["fetch", "ravdess"]) == 130
    assert "the same command resumes" in capsys.readouterr().err


def test_what_goes_wrong_in_a_command_is_one_line(capsys):
    assert cli.main(["verify", "actors", "--root", "nowhere"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("cm: nowhere: no such folder; put the corpus actors there")
    assert err.count("\n") == 1


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_can_complete_commands_options_and_choices(shell):
    script = cli.create_app().generate_completion(shell=shell)
    assert all(word in script for word in (*COMMANDS, "--profile", "paper", "tensorboard"))


def test_profiles_are_those_of_the_configuration():
    assert set(ALL_PROFILES) == set(PROFILES) and set(MAIN_PROFILES) < set(PROFILES)


@pytest.mark.parametrize(
    "text, numbers", [("1-4,9", [1, 2, 3, 4, 9]), ("24", [24]), ("3,1-3", [1, 2, 3])]
)
def test_a_list_of_numbers(text, numbers):
    assert number_range(text) == numbers
