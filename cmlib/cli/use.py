"""``cm perceive``: one face, one voice, one picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

PICTURE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")


def _check_strength(hint: type, strength: float) -> None:
    # "not" in front, because every comparison with NaN is false.
    if not 0 <= strength <= 1:
        raise ValueError(f"{strength:g} is not a number from 0 to 1")


def perceive(
    *,
    image: Annotated[
        str, Parameter(help="A picture with a face, or a video (its middle frame counts).")
    ],
    audio: Annotated[str, Parameter(help="A sound or video file with a voice.")],
    strength: Annotated[
        float, Parameter(validator=_check_strength, help="Strength of the context, 0 to 1.")
    ] = 0.7,
    model: Annotated[
        str, Parameter(help="A corpus, CORPUS-PROFILE, or a folder of checkpoints.")
    ] = "actors",
    out: Annotated[
        Path,
        Parameter(
            name=["--out", "-o"], help="Picture to write; a JSON file beside it has the numbers."
        ),
    ] = Path("perceived.png"),
) -> None:
    """Show one face in the context of one voice: a picture and numbers."""
    import json

    from cmlib import files
    from cmlib.perceiver import Perceiver

    if out.suffix.lower() not in PICTURE_SUFFIXES:
        raise ValueError(f"{out}: the picture's name should end in .png, .jpg or .webp")
    if out.is_dir():
        raise ValueError(f"{out}: a folder; name the picture to write")
    written = (out, out.with_suffix(".json"))
    for source in (Path(image), Path(audio)):
        if source.exists() and any(path.exists() and path.samefile(source) for path in written):
            raise ValueError(f"{source}: -o {out} would overwrite it; name another file")
    files.make_folder(out.parent)
    perception = Perceiver.load(model).perceive(image, audio, strength)
    perception.merged().save(out)
    numbers = {"image": image, "audio": audio, "model": model} | perception.summary()
    text = json.dumps(files.plain(numbers), indent=1, allow_nan=False)
    files.write_text(out.with_suffix(".json"), text + "\n")

    for note in perception.notes:
        print(note)
    print(f"{'':<12}{'face alone':>12}{'in context':>12}")
    for name, alone, in_context in zip(
        perception.classes, perception.alone, perception.probabilities
    ):
        mark = "  <" if name == perception.label else ""
        print(f"{name:<12}{100 * alone:>10.1f} %{100 * in_context:>10.1f} %{mark}")
    print(
        f"perceived as {perception.label} at strength {perception.strength:g}: "
        f"{out}, {out.with_suffix('.json').name}"
    )
