"""Judges: classifiers of expressions that share no weights with the models that they judge.

A judge answers two questions about pictures that a face VAE-GAN has decoded. How much expression do
they show, and how much is that compared with the real pictures? ``CnnJudge`` is a small
convolutional network that learns from frames of the corpus. ``Recogniser`` was trained by others,
on photographs of people; ``recognisers`` has one more of that kind, and ``observers`` a judge that
predicts what a hundred people would say.
"""

from __future__ import annotations

import dataclasses
import importlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from cmlib import checkpoints, files, provenance
from cmlib.corpora import cache_root
from cmlib.experiment.run import Run
from cmlib.locks import locked
from cmlib.models import CnnJudge
from cmlib.progress import progress_bar
from cmlib.training.batches import Pictures, batches, fingerprint
from cmlib.training.loop import launch

EPOCHS = 12
BATCH = 64  # pictures of one step
LEARNING_RATE = 2e-3  # the maximum of the schedule
JUDGE_SEED = 0
# Whom a judge learns from, and the subsets of the split that this stands for.
TEACHERS = {"others": ("train", "val"), "validation": ("val",), "training": ("train",)}
MAX_FRAMES = 4000  # of a run, approximately, from which a judge learns

# -------------------------------------------------------------- a judge that learns from the corpus


def judge_for_run(run: Run, learns_from: str = "others") -> CnnJudge:
    """A judge that learns from real frames of some of the run's actors, trained or loaded.

    ``learns_from`` is "others", "validation" or "training". "others" are all actors except the test
    actors, so the training actors of the judged networks are among them. "validation" is the
    strictest choice: the judged networks were not trained on these people, but there are only four
    or five of them. "training" suits questions about validation actors. The seed is 0, so that runs
    of all seeds face the same judge. It is trained once, and kept beside the prepared corpora for
    everything that needs it, unless it is among the shipped checkpoints of the run.
    """
    record = judge_record(run, learns_from)
    shipped = run.shipped(judge_name(learns_from))
    if not provenance.fresh() and checkpoints.is_current(shipped, record):
        return checkpoints.load(shipped, CnnJudge)[0]
    return _kept(
        kept_judge(run, learns_from),
        record,
        judge_card(run, learns_from),
        lambda: _train(
            run.faces,
            frames_to_learn_from(run, learns_from),
            run.clip_labels[run.frame_clip],
            _epochs(run),
            JUDGE_SEED,
        ),
    )


def _kept(
    path: Path, record: provenance.Provenance, card: dict, train: Callable[[], CnnJudge]
) -> CnnJudge:
    """The judge at ``path`` (without suffix), trained first if it is not there or stale."""
    if not checkpoints.is_current(path, record):
        files.make_folder(path.parent)
        with locked(path.with_suffix(".lock"), "training the same judge"):
            if not checkpoints.is_current(path, record):
                checkpoints.save(path, train(), card)
    return checkpoints.load(path, CnnJudge)[0]


def kept_judge(run: Run, learns_from: str) -> Path:
    """Where the judge of a run is kept once it is trained (the path has no suffix)."""
    return cache_root() / "judges" / judge_record(run, learns_from).fingerprint()


def judge_name(learns_from: str) -> str:
    """The name of the checkpoint of a judge among those of its run."""
    return f"judge_{learns_from}"


def judge_record(run: Run, learns_from: str) -> provenance.Provenance:
    """What the judge of a run is made from."""
    record = provenance.of_code(
        "judge",
        {"epochs": _epochs(run), "learns_from": learns_from},
        {"corpus": f"{run.corpus}-{run.shown.key}"},
        JUDGE_SEED,
    )
    return dataclasses.replace(record, fold=run.fold, classes=run.classes)


def judge_card(run: Run, learns_from: str) -> dict:
    """What the checkpoint of a judge says about itself."""
    return {
        "stage": judge_name(learns_from),
        "corpus": run.corpus,
        "profile": run.profile_name,
        "fold": run.fold,
        "seed": JUDGE_SEED,
        "classes": list(run.classes),
        "provenance": judge_record(run, learns_from).to_json(),
    }


def _epochs(run: Run) -> int:
    # Profile smoke asks for fewer. A profile with a shipped face network does not set any epochs.
    return min(EPOCHS, 4 * run.profile.face.epochs) or EPOCHS


def frames_to_learn_from(run: Run, learns_from: str) -> np.ndarray:
    """The rows of the frames (N,) from which a judge learns."""
    clips = np.concatenate([getattr(run.split, subset) for subset in TEACHERS[learns_from]])
    rows = run.frames_of(run.distinct(run.labelled(clips), "face"))
    return rows[:: 1 + len(rows) // MAX_FRAMES]


def train_judge(
    pictures: Pictures,
    rows: np.ndarray,
    labels: np.ndarray,
    *,
    epochs: int = EPOCHS,
    seed: int = JUDGE_SEED,
) -> CnnJudge:
    """A judge that learns from the pictures ``rows`` (N,), trained now or read from the cache.

    ``labels`` has the class of every picture of ``pictures``, also of those outside ``rows``. The
    same pictures, labels and settings give the same judge, which is therefore trained once.
    """
    record = provenance.of_code(
        "judge",
        {"epochs": epochs, "classes": int(labels.max()) + 1},
        {"pictures": fingerprint(pictures, rows, labels)},
        seed,
    )
    path = cache_root() / "judges" / record.fingerprint()
    card = {"stage": "judge", "seed": seed, "provenance": record.to_json()}
    return _kept(path, record, card, lambda: _train(pictures, rows, labels, epochs, seed))


@torch.enable_grad()  # even if the caller has switched gradients off
def _train(
    pictures: Pictures, rows: np.ndarray, labels: np.ndarray, epochs: int, seed: int
) -> CnnJudge:
    # Set up
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    fabric = launch()
    judge = CnnJudge(int(labels.max()) + 1).to(fabric.device).to(memory_format=torch.channels_last)
    optimiser = torch.optim.AdamW(judge.parameters(), lr=LEARNING_RATE, weight_decay=1e-2)
    steps = epochs * math.ceil(len(rows) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=steps + 1)

    for _ in progress_bar(range(epochs), "judge", unit="epoch"):
        for batch in batches(rows, BATCH, rng):
            # Augment: mirror half of the pictures, and shift all of them a little
            x = pictures.batch(batch, flip=rng.random(len(batch)) < 0.5)  # (B, 3, S, S)
            x = _shift(x, rng).to(fabric.device, memory_format=torch.channels_last)
            target = torch.from_numpy(labels[batch]).long().to(fabric.device)  # (B,)

            # Forward
            with fabric.autocast():
                logits = judge(x).float()  # (B, classes)
                loss = F.cross_entropy(logits, target, label_smoothing=0.1)

            # Update weights and learning rate
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
    return judge.cpu().eval().requires_grad_(False)


def _shift(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Shift a batch (B, C, S, S) by up to a twentieth of its size, repeating its edges."""
    height, width = x.shape[-2:]
    margin = max(1, width // 20)
    left, top = rng.integers(2 * margin + 1, size=2)
    padded = F.pad(x, [margin] * 4, mode="replicate")
    return padded[..., top : top + height, left : left + width]


# -------------------------------------------------------------------- a judge that others trained


class PartialJudge(ABC):
    """A judge with names of its own for what it sees, which need not cover all of the classes.

    ``OUTPUTS`` are these names, in the words of this project. It judges only the classes in
    ``emotions``, which are among its outputs. What it gives to its other outputs counts as none of
    the classes.
    """

    OUTPUTS: tuple[str, ...]

    def __init__(self, classes: Sequence[str]):
        self.classes = tuple(classes)
        self.emotions = tuple(c for c in classes if c in self.OUTPUTS)

    @abstractmethod
    def probabilities(self, pictures: Tensor) -> np.ndarray:
        """Pictures (N, 3, S, S) in 0...1 -> probabilities of ``OUTPUTS`` (N, outputs)."""

    def __call__(self, pictures: Tensor) -> np.ndarray:
        """Pictures (N, 3, S, S) in 0...1 -> log probabilities (N, classes + 1).

        The last column is the probability of none of the classes.
        """
        return np.log(self._in_our_classes(self.probabilities(pictures)).clip(1e-12))

    def _in_our_classes(self, probabilities: np.ndarray) -> np.ndarray:
        """Probabilities of ``OUTPUTS`` (N, 7) -> of ``classes`` and of none (N, classes + 1)."""
        ours = np.zeros((len(probabilities), len(self.classes) + 1), np.float32)
        for output, name in enumerate(self.OUTPUTS):
            column = self.classes.index(name) if name in self.emotions else -1
            ours[:, column] += probabilities[:, output]
        return ours


class Recogniser(PartialJudge):
    """A judge that others trained on photographs: the network in the package facex 1.1.0 (MIT).

    The package itself is not imported. Its network does not know calm and contempt. If ``classes``
    lacks neutral, its *neutral* counts as none of them. Of ``data/actors`` at 64 pixels it
    recognises a third: joy nearly always, anger never. ``share`` is the part of the crop's side
    that it is shown: 1, or ``PHOTOGRAPH_SHARE`` for crops of photographs, whose hair distracts it.
    If the package or its runtime is missing, ModuleNotFoundError says how to install it.
    """

    OUTPUTS = ("angry", "disgust", "fearful", "happy", "neutral", "sad", "surprised")
    INSTALL = "pip install -e '.[recogniser]' && pip install --no-deps facex==1.1.0"
    PHOTOGRAPH_SHARE = 0.85

    def __init__(self, classes: Sequence[str], share: float = 1.0):
        super().__init__(classes)
        self.share = share
        package = find_spec("facex")
        folders = package.submodule_search_locations if package else None
        if not folders or find_spec("ai_edge_litert") is None:
            raise ModuleNotFoundError(
                f"the recogniser is not installed; in the folder of the repository: {self.INSTALL}"
            )
        weights = Path(folders[0]) / "assets" / "model_optimized.tflite"
        runtime = importlib.import_module("ai_edge_litert.interpreter")
        self.network = runtime.Interpreter(str(weights), num_threads=1)
        self.network.allocate_tensors()

    def probabilities(self, pictures: Tensor) -> np.ndarray:
        """As ``PartialJudge.probabilities``; pictures of any size, one at a time on the CPU."""
        (network_input,) = self.network.get_input_details()
        (network_output,) = self.network.get_output_details()
        size = tuple(network_input["shape"][1:3])  # 200 x 200
        probabilities = np.empty((len(pictures), len(self.OUTPUTS)), np.float32)
        for i, picture in enumerate(central_square(pictures, self.share)):
            x = F.interpolate(picture[None].float(), size, mode="bilinear")
            x = x.permute(0, 2, 3, 1).contiguous().numpy()  # (1, 200, 200, 3)
            self.network.set_tensor(network_input["index"], x)
            self.network.invoke()
            probabilities[i] = self.network.get_tensor(network_output["index"])[0]
        return probabilities


def central_square(pictures: Tensor, share: float, down: float = 0.0) -> Tensor:
    """The central part of pictures (N, C, S, S), ``share`` of their side, cut at whole pixels.

    It lies lower by ``down`` of the side, and is cut off where the picture ends.
    """
    size = pictures.shape[-1]
    margin = (1 - share) / 2 * size
    left, right = round(margin), round(size - margin)
    top = max(0, round(margin + down * size))
    bottom = min(size, round(size - margin + down * size))
    return pictures[..., top:bottom, left:right]


# -------------------------------------------------------------------- every judge

Judge = CnnJudge | PartialJudge


def known_emotions(judge: Judge, classes: Sequence[str]) -> tuple[str, ...]:
    """Those of the ``classes`` that a judge knows; a ``PartialJudge`` does not know all of them."""
    return judge.emotions if isinstance(judge, PartialJudge) else tuple(classes)


@torch.no_grad()
def predict(judge: Judge, pictures: Tensor, batch: int = 256) -> np.ndarray:
    """Log probabilities (N, classes) of pictures (N, 3, S, S) in 0...1.

    A ``PartialJudge`` adds a last column: none of the classes.
    """
    if isinstance(judge, PartialJudge):
        return judge(pictures.cpu())
    device = next(judge.parameters()).device
    log_probabilities = [
        judge(x.to(device).float()).log_softmax(1).cpu() for x in pictures.split(batch)
    ]
    return torch.cat(log_probabilities).numpy()
