"""Pictures of the embedded corpora, to look at.

`python -m tools.corpus.sheets render OUT_DIR` draws the cast anew. `python -m tools.corpus.sheets
clips data/actors docs/corpus` makes the pictures and the page of the data card from the shipped
clips.
"""

from __future__ import annotations

import argparse
import base64
import io
import os
import time
from pathlib import Path
from string import Template

import numpy as np
from matplotlib import colormaps, get_data_path
from PIL import Image, ImageDraw, ImageFont

from cmlib.corpora import crowd
from cmlib.corpora.names import EMOTIONS
from cmlib.preparation.media import iter_frames, read_audio, read_video, video_info
from cmlib.preparation.spectrograms import (
    HOP_LENGTH,
    N_MELS,
    SAMPLE_RATE,
    WINDOW_SECONDS,
    mel_spectrogram,
    resample,
)
from cmlib.preparation.tracking import crop_faces

SENTENCES = {1: "Kids are talking by the door", 2: "Dogs are sitting by the door"}
INK, PAPER = (40, 40, 46), (255, 255, 255)
SHOWN = (
    (1, 2, 1),
    (2, 11, 2),
    (3, 16, 1),
    (4, 5, 2),
    (5, 17, 1),
    (6, 20, 2),
    (7, 9, 1),
    (8, 12, 2),
)  # + statement
TALKING = ((3, 12), (5, 17))  # emotion, actor of the strips

# intensities at the height of a strong performance, as units.py shows them
TYPICAL = {
    "neutral": {},
    "calm": dict(AU12=0.4, AU06=0.2, AU45=0.3),
    "happy": dict(AU12=2.2, AU06=1.8, AU25=1.3, AU10=0.8, AU14=0.7),
    "sad": dict(AU01=2.1, AU04=1.2, AU15=1.8, AU17=1.6),
    "angry": dict(AU04=2.3, AU07=1.3, AU05=0.7, AU23=1.4, AU09=0.7, AU17=0.7),
    "fearful": dict(AU01=2.1, AU02=1.3, AU04=1.0, AU05=2.2, AU20=1.7, AU25=1.4, AU26=0.7),
    "disgust": dict(AU09=2.2, AU10=2.0, AU04=1.6, AU07=1.3, AU15=0.7, AU17=1.0, AU06=0.9),
    "surprised": dict(AU01=2.3, AU02=2.3, AU05=2.1, AU25=1.6, AU26=1.8),
}


def grid(pictures, columns: int) -> Image.Image:
    """Pictures of one size in rows of `columns`."""
    rows = [np.concatenate(pictures[i : i + columns], 1) for i in range(0, len(pictures), columns)]
    return Image.fromarray(np.concatenate(rows))


def render_sheets(out: Path) -> None:
    """Write three pictures of the cast.

    actors.png (24 neutral faces), emotions.png (actors x emotions, crops) and small.png (64 x 64).
    """
    from .actor import Actor
    from .expressions import face_units
    from .render import Scene, render

    out.mkdir(parents=True, exist_ok=True)
    scene = Scene.draw(np.random.default_rng(0))
    actors = {k: Actor(k) for k in range(1, 25)}
    grid([render(a, {}, scene=scene) for a in actors.values()], 6).save(out / "actors.png")
    start, rows = time.process_time(), []
    for k in actors:
        rows += [
            render(actors[k], face_units(au, actors[k]), scene=scene, size=128, framing="crop")
            for au in TYPICAL.values()
        ]
    print(f"{(time.process_time() - start) / len(rows) * 1000:.1f} ms CPU a 128 x 128 crop")
    grid(rows[:96], 8).save(out / "emotions_1.png")
    grid(rows[96:], 8).save(out / "emotions_2.png")
    grid([np.asarray(Image.fromarray(r).resize((64, 64), Image.BOX)) for r in rows[:96]], 16).save(
        out / "small.png"
    )


# ---------------------------------------------------------------- from the clips


def font(size: int, face: str = "DejaVuSans") -> ImageFont.FreeTypeFont:
    """A font that matplotlib brings along."""
    return ImageFont.truetype(Path(get_data_path()) / "fonts" / "ttf" / f"{face}.ttf", size)


def name(emotion: int, actor: int, statement: int = 1) -> str:
    """Where in the corpus the strong clip is (neutral: the only one)."""
    intensity = 1 if emotion == 1 else 2
    stem = f"01-01-{emotion:02d}-{intensity:02d}-{statement:02d}-01-{actor:02d}"
    return f"Actor_{actor:02d}/{stem}.mp4"


def apex(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """The frame at the apex (40-60 %) and its crop.

    Of nine frames it is the one nearest to their median, so that no blink is shown.
    """
    numbers = np.linspace(0.4, 0.6, 9) * video_info(path).frames
    frames = list(iter_frames(path, numbers.astype(int).tolist()))
    crops = crop_faces(frames, 96)[0]
    k = np.abs(crops - np.median(crops, 0)).mean((1, 2, 3)).argmin()
    return frames[k], crops[k]


def save(image: Image.Image, path: Path, kilobytes: int) -> None:
    """WebP in the best quality that keeps to `kilobytes`."""
    for quality in range(92, 30, -4):
        image.save(path, quality=quality, method=6)
        if path.stat().st_size <= 1000 * kilobytes:
            break
    size = path.stat().st_size / 1000
    print(f"{path}: {image.width} x {image.height}, quality {quality}, {size:.0f} kB")


def contact_sheet(corpus: Path) -> Image.Image:
    """24 actors x 8 emotions in two panels of 12 actors."""
    cell, left, top, gap = 96, 34, 30, 26
    width = left + 8 * cell
    sheet = Image.new("RGB", (2 * width + gap, top + 12 * cell), PAPER)
    draw = ImageDraw.Draw(sheet)
    for panel in range(2):
        x = panel * (width + gap) + left
        for e, emotion in enumerate(EMOTIONS):
            draw.text((x + (e + 0.5) * cell, top / 2), emotion, INK, font(15), "mm")
        for row in range(12):
            actor, y = 12 * panel + row + 1, top + row * cell
            draw.text((x - 8, y + cell / 2), str(actor), INK, font(16, "DejaVuSans-Bold"), "rm")
            for e in range(8):
                sheet.paste(
                    Image.fromarray(apex(corpus / name(e + 1, actor))[1]), (x + e * cell, y)
                )
    return sheet


def strip(path: Path, title: str, cell: int = 112, count: int = 10) -> Image.Image:
    """`count` face crops of a clip over its mel spectrogram, on one axis of time."""
    frames, info = read_video(path)
    sound = resample(*read_audio(path))
    seconds = len(sound) / SAMPLE_RATE
    start, span = (
        max(0.0, (seconds - WINDOW_SECONDS) / 2),
        min(seconds, WINDOW_SECONDS),
    )  # what `mel` looks at
    first = max(0.0, (WINDOW_SECONDS - seconds) / 2) * SAMPLE_RATE / HOP_LENGTH
    spectrogram = mel_spectrogram(sound)[
        ::-1, round(first) : round(first + span * SAMPLE_RATE / HOP_LENGTH) + 1
    ]
    picked = ((start + (np.arange(count) + 0.5) / count * span) * info.fps).astype(int)
    crops = crop_faces(frames[picked], cell)[0]
    top, left, below, height = 28, 44, 26, N_MELS
    width = cell * count
    out = Image.new("RGB", (left + width + 16, top + cell + height + below), PAPER)
    draw = ImageDraw.Draw(out)
    draw.text((left, top / 2), title, INK, font(15), "lm")
    out.paste(grid(list(crops), count), (left, top))
    colours = Image.fromarray(np.uint8(255 * colormaps["magma"](spectrogram)[..., :3]))
    out.paste(colours.resize((width, height), Image.Resampling.BICUBIC), (left, top + cell))
    draw.text((left - 8, top + cell + height / 2), "mel", INK, font(13), "rm")
    for tick in np.arange(0, span, 0.5):
        x, y = left + tick / span * width, top + cell + height
        draw.line((x, y, x, y + 5), INK)
        draw.text((x, y + 6), f"{tick:.1f} s" if tick == 0 else f"{tick:.1f}", INK, font(12), "ma")
    return out


PAGE = Template((Path(__file__).parent / "sheets.html").read_text(encoding="utf-8"))


def video(corpus: Path, out: Path, emotion: int, actor: int, statement: int) -> str:
    """One clip of the page, its frame at the apex as the picture before it plays."""
    path, buffer = corpus / name(emotion, actor, statement), io.BytesIO()
    Image.fromarray(apex(path)[0]).save(buffer, "webp", quality=80, method=6)
    poster = base64.b64encode(buffer.getvalue()).decode()
    source = Path(os.path.relpath(path, out)).as_posix()
    return (
        f'<figure><video controls playsinline preload="metadata" src="{source}"\n'
        f'poster="data:image/webp;base64,{poster}"></video>\n'
        f"<figcaption><b>{EMOTIONS[emotion - 1]}</b>{'normal' if emotion == 1 else 'strong'} · "
        f"actor {actor} · “{SENTENCES[statement]}”</figcaption></figure>"
    )


def clip_sheets(corpus: Path, out: Path) -> None:
    """Write actors.webp, strip.webp, crowd.webp and index.html."""
    out.mkdir(parents=True, exist_ok=True)
    strips = [
        strip(corpus / name(e, a), f"actor {a}, {EMOTIONS[e - 1]}, strong: “{SENTENCES[1]}”")
        for e, a in TALKING
    ]
    shown = (
        crowd.table().sample(frac=1, random_state=0).drop_duplicates("person").index[:128]
    )  # as many people
    pictures = {
        "actors": (contact_sheet(corpus), 400),
        "strip": (Image.fromarray(np.concatenate([np.asarray(s) for s in strips])), 150),
        "crowd": (grid(list(crowd.load(80)[shown]), 16), 200),
    }
    sizes = {}
    for key, (image, most) in pictures.items():
        save(image, out / f"{key}.webp", most)
        short = "sheet" if key == "actors" else key
        sizes |= {f"{short}_w": image.width, f"{short}_h": image.height}
    page = PAGE.substitute(
        sizes,
        clips=len(list(corpus.glob("Actor_*/*.mp4"))),
        pictures=f"{len(crowd.table()):,}",
        videos="\n".join(video(corpus, out, *s) for s in SHOWN),
    )
    (out / "index.html").write_text(page, encoding="utf-8")
    print(f"{out / 'index.html'}: {len(page) / 1000:.0f} kB")


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("render", help="draw the cast").add_argument("out", type=Path)
    clips = commands.add_parser("clips", help="pictures and page of the shipped clips")
    clips.add_argument("corpus", type=Path)
    clips.add_argument("out", type=Path)
    options = parser.parse_args()
    if options.command == "render":
        render_sheets(options.out)
    else:
        clip_sheets(options.corpus, options.out)


if __name__ == "__main__":
    main()
