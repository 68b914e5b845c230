"""``cm perceive``: one face, one voice, one picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

if TYPE_CHECKING:
    from cmlib.perceiver import Perception

USUAL_MODEL = "actors"
PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def _check_strength(hint: type, strength: float) -> None:
    # "not" in front, because every comparison with NaN is false.
    if not 0 <= strength <= 1:
        raise ValueError(f"{strength:g} is not a number from 0 to 1")


def perceive(
    image: Annotated[
        str, Parameter(help="A picture with a face, or a video (its middle frame counts).")
    ],
    audio: Annotated[str, Parameter(help="A sound or video file with a voice.")],
    *,
    strength: Annotated[
        float, Parameter(validator=_check_strength, help="Strength of the context, 0 to 1.")
    ] = 0.7,
    model: Annotated[
        str | None,
        Parameter(
            help="A corpus, CORPUS-PROFILE, or a folder of checkpoints. Without it: actors, or for "
            "a face that they cannot draw, the networks of photographs."
        ),
    ] = None,
    out: Annotated[
        Path,
        Parameter(
            name=["--out", "-o"], help="Picture to write; a JSON file beside it has the numbers."
        ),
    ] = Path("perceived.png"),
    as_json: Annotated[
        bool,
        Parameter(name="--json", negative=(), help="Print the numbers as JSON, not as a table."),
    ] = False,
) -> None:
    """Show one face in the context of one voice: a picture and numbers."""
    import json

    from cmlib import files
    from cmlib.perceiver import Perceiver, choose

    _check_out(out, (Path(image), Path(audio)))
    files.make_folder(out.parent)
    if model is None:
        perceiver, face = choose(Perceiver.load(USUAL_MODEL), image)
    else:
        perceiver = Perceiver.load(model)
        face = perceiver.encode_face(image)
    perception = perceiver.perceive(face, audio, strength)
    perception.merged().save(out)
    numbers = {"image": image, "audio": audio, "model": perceiver.name} | perception.summary()
    text = json.dumps(files.plain(numbers), indent=1, allow_nan=False)
    files.write_text(out.with_suffix(".json"), text + "\n")
    if as_json:
        print(text)
    else:
        _print_table(perception)
        print(f"{out}, {out.with_suffix('.json').name}")


def _check_out(out: Path, sources: tuple[Path, ...]) -> None:
    """ValueError where no picture of this name can be written, or one of ``sources`` would go."""
    if out.suffix.lower() not in PICTURE_SUFFIXES:
        raise ValueError(f"{out}: the picture's name should end in .png, .jpg or .webp")
    if out.is_dir():
        raise ValueError(f"{out}: a folder; name the picture to write")
    written = (out, out.with_suffix(".json"))
    for path in written:
        if path.is_symlink() and not path.exists():
            raise ValueError(f"{path}: a link to a file that is not there; name another file")
    for source in sources:
        if source.exists() and any(path.exists() and path.samefile(source) for path in written):
            raise ValueError(f"{source}: -o {out} would overwrite it; name another file")


def _print_table(perception: Perception) -> None:
    for note in perception.notes:
        print(note)
    for warning in perception.warnings:
        print(f"warning: {warning}")
    print(f"{'':<12}{'face alone':>12}{'in context':>12}")
    for name, alone, in_context in zip(
        perception.classes, perception.alone, perception.probabilities
    ):
        mark = "  <" if name == perception.label else ""
        print(f"{name:<12}{100 * alone:>10.1f} %{100 * in_context:>10.1f} %{mark}")
    print(f"perceived as {perception.label} at strength {perception.strength:g}: ", end="")
