"""Load or train every stage of one experiment, and predict with its networks.

Notebooks, command line and benchmarks all come through here, so that there is one code path.
"""

from __future__ import annotations

import contextlib
import dataclasses
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import torch
from torch import nn

from cmlib import checkpoints, damage, files, metrics, provenance, strangeness
from cmlib.arrays import open_array, open_or_set_aside, release_maps
from cmlib.checkpoints import CheckpointError
from cmlib.config import CanConfig
from cmlib.corpora import cache_root, crowd
from cmlib.corpora.names import EMOTIONS
from cmlib.experiment.networks import StoredNetworks
from cmlib.locks import locked
from cmlib.models import Can, Classifier, Posterior, VaeGan, fuse, product_of_classifiers
from cmlib.models.vaegan import INFERENCE_BATCH
from cmlib.perceiver import Perceiver, as_released
from cmlib.training.batches import Pictures, TrainingData, batches
from cmlib.training.can import add_imagined, train_can
from cmlib.training.classifier import train_classifier
from cmlib.training.encoding import encode_to_file
from cmlib.training.latents import FusedLatents, Latents, Part, row_blocks
from cmlib.training.loop import (
    best_device,
    computed_on,
    launch,
    on_device,
    waiting_for_others,
)
from cmlib.training.vaegan import train_vaegan

if TYPE_CHECKING:
    from lightning_fabric import Fabric

FUSIONS = ("face", "voice", "product_of_experts", "concatenation")  # what a classifier reads
MODELS = (*FUSIONS, "can_released", "can")  # can_released: with the released settings


@dataclass(frozen=True)
class Run(StoredNetworks):
    """The stages of one experiment, and what its networks predict for the frames of its corpus."""

    # ---------------------------------------------------------------- the VAE-GANs

    def vaegan(
        self, kind: str, retrain: bool = False, fabric: Fabric | None = None, log: str = "csv"
    ) -> VaeGan:
        """The VAE-GAN of ``kind`` "face" or "voice", loaded or trained.

        ``retrain`` ignores the weights shipped for this experiment, but not those that it has
        trained itself. ``log`` is "csv" (the history beside the checkpoint grows epoch by epoch) or
        "tensorboard" (a folder of this run). Every device of ``fabric`` has to call this.
        """
        path = self.usable(kind, retrain)
        if path is None:
            self._train_vaegan_alone(kind, fabric or launch(), log)
            path = self.path(kind)
        self._check_shipped(kind, path)
        return checkpoints.load(path, VaeGan)[0]

    def _check_shipped(self, kind: str, path: Path) -> None:
        """CheckpointError where the network that a profile uses as it is, is not there."""
        if path == self.fixed_network(kind) and not path.with_suffix(".safetensors").exists():
            raise CheckpointError(
                f"{path}.safetensors: the {kind} network that profile {self.profile_name} uses in "
                f"fold {self.fold} is not there; get it (git checkout checkpoints), or choose "
                "another profile or fold"
            )

    def _train_vaegan_alone(self, kind: str, fabric: Fabric, log: str) -> None:
        """Train a VAE-GAN, unless another process, for which this one waits, has just done so.

        Such a process may have outlived the command that started it.
        """
        alone = contextlib.nullcontext()
        if fabric.is_global_zero:  # the first device holds the lock for all
            work = f"training the {kind} network of {self.folder.name}"
            alone = locked(self.folder / f".{kind}.lock", work)
        with alone:
            fabric.barrier()
            if not self.trained_here(kind):
                self._train_vaegan(kind, fabric, log)

    def _train_vaegan(self, kind: str, fabric: Fabric, log: str) -> None:
        """Train and save a VAE-GAN; a training that was killed resumes."""
        settings, path = self.settings(kind), self.path(kind)
        pictures, labels, train, validation = self._training_pictures(kind)
        start = None
        if settings.start:
            path_of_start = files.ROOT / "checkpoints" / settings.start_in(self.fold)
            start = checkpoints.load(path_of_start, VaeGan)[0]
        history_file = path.with_suffix(".history.csv")
        # The fingerprint in the file name keeps other trainings from reading the unfinished state.
        state = path.with_suffix(f".{self.provenance(kind).fingerprint()}.state.pt")
        known_labels = labels if labels.max() >= 0 else None
        model, history = train_vaegan(
            TrainingData(pictures, train, validation, known_labels, flips=kind == "face"),
            settings,
            seed=self.seed,
            state=state,
            start=start,
            fabric=fabric,
            log=self.folder / "tensorboard" / kind if log == "tensorboard" else history_file,
        )
        if fabric.is_global_zero:
            scores = {"reconstruction_mse": history.validation.iloc[-1]}
            limits = self._limits(kind, model, pictures, validation)
            more, computed = {strangeness.KEY: limits}, computed_on(fabric)
            self.save(kind, model, history, scores, more, computed)
            state.unlink(missing_ok=True)
        with waiting_for_others(f"end of the training of {kind}", fabric):
            fabric.barrier()

    def _limits(self, kind: str, model: VaeGan, pictures: Pictures, rows: np.ndarray) -> dict:
        """The entry of the card with the limits of strangeness, from the validation people."""
        if not len(rows):
            return {}
        values = strangeness.measure_all(
            model, (pictures.batch(indices) for indices in batches(rows, INFERENCE_BATCH))
        )
        clips = rows if kind == "voice" else self.frame_clip[rows]
        people = self.store.clips.actor.to_numpy()[clips]
        return strangeness.card_entry(values, f"validation people of {self.corpus}", people)

    def _training_pictures(self, kind: str) -> tuple[Pictures, np.ndarray, np.ndarray, np.ndarray]:
        """Pictures, their labels (-1: none), and the rows to train on and to validate on."""
        if kind == "voice":
            train = self.distinct(self.split.train, "voice")
            validation = self.distinct(self.split.val, "voice")
            return self.mels, self.clip_labels, train, validation
        own_frames = len(self.frame_clip)
        labels = np.full(len(self.faces), -1)
        if self.settings(kind).labels == "all":
            labels[:own_frames] = self.clip_labels[self.frame_clip]
        if len(labels) > own_frames:
            people = crowd.table(limit=self.profile.data.crowd_limit)
            labels[own_frames:] = crowd.labels(people, self.classes)
        validation = self.frames_of(self.distinct(self.split.val, "face"), labelled=False)
        train = self.frames_of(self.distinct(self.split.train, "face"), labelled=False)
        crowd_rows = np.arange(len(self.store.frames), len(self.faces))
        return self.faces, labels, np.concatenate([train, crowd_rows]), validation

    # ---------------------------------------------------------------- latents

    @cached_property
    def face_latents(self) -> Posterior:
        """(2 views, frames, D): every frame and its mirror image through the frozen encoder."""
        return self._encoded("face")

    @cached_property
    def voice_latents(self) -> Posterior:
        """(clips, D): every voice through the frozen encoder."""
        return self._encoded("voice").map(lambda views: views[0])

    def crowd_faces(self) -> tuple[Posterior, np.ndarray, np.ndarray]:
        """Every face of the crowd that is neutral or of a class, and its mirror image.

        Returns the latents (2 views, M, D), the label (M,) in ``classes`` or -1 for neutral, and
        the person (M,).
        """
        table = crowd.table(crowd.folder())
        labels = crowd.labels(table, self.classes)
        keep = (labels >= 0) | (table.mood == EMOTIONS[0]).to_numpy()
        latents = self._encoded("crowd").map(lambda views: views[:, keep])
        return latents, labels[keep], table.person.to_numpy()[keep]

    def _encoded(self, source: str) -> Posterior:
        """Latents (views, N, D) of the "face", the "voice" or the "crowd", kept in a file.

        The file name contains a hash of the weights and pictures. The latents are mapped from the
        file, so that only what is read takes memory.
        """
        kind = "voice" if source == "voice" else "face"
        pictures, rows, places, key = self._pictures_to_encode(source)
        model = self.vaegan(kind)
        data = {"weights": files.known_checksum(self.weights(kind)), "pictures": key}
        record = provenance.of_code("encoding", data=data)
        # All folds and seeds share the latents of a network that none of them trains.
        folder = cache_root() if self.fixed_network(kind) else self.folder
        file = folder / "latents" / f"{source}-{record.fingerprint()}.npy"
        latents = open_or_set_aside(file, "c")
        if latents is not None:
            return Posterior(*torch.from_numpy(latents))

        files.make_folder(file.parent)
        options = {"flips": kind == "face", "batch": INFERENCE_BATCH, "device": best_device()}
        # Cells of a study that start together need not encode the same pictures side by side.
        with locked(file.with_suffix(".lock"), f"encoding the same pictures ({source})"):
            if not file.exists():
                with files.write_atomically(file) as temporary:
                    encode_to_file(temporary, model, pictures, rows, places, **options)
                damage.note_checksum(file)
        return Posterior(*torch.from_numpy(open_array(file, "c")))

    def _pictures_to_encode(self, source: str) -> tuple[Pictures, np.ndarray, np.ndarray, str]:
        """The pictures, their rows to encode, the place of each latent, and the key of the data."""
        if source == "crowd":
            size = self.profile.data.image_size
            pictures = crowd.load(size, root=crowd.folder())
            rows = np.arange(len(pictures))
            return Pictures(pictures), rows, rows, f"crowd-{size}-{crowd.key()}"
        rows, places = self.distinct_inputs(source)
        return self.mels if source == "voice" else self.faces, rows, places, self.store.key

    @property
    def latents_have_one_size(self) -> bool:
        """Whether the latents of faces have as many dimensions as those of voices."""
        return self.face_latents.mu.shape[-1] == self.voice_latents.mu.shape[-1]

    def paired(self, rows: np.ndarray, views: bool = False) -> tuple[Posterior, Posterior]:
        """Latents of the frames ``rows`` and of the voices of their own clips.

        Faces are (N, D), or with ``views`` (2 views, N, D); voices are (N, D).
        """
        release_maps(2 * len(rows))  # mu and logvar
        face = self.face_latents.map(lambda x: x[:, rows] if views else x[0, rows])
        return face, self.voice_latents.map(lambda x: x[self.frame_clip[rows]])

    def fused(self, name: str, rows: np.ndarray) -> Posterior:
        """What a classifier of one of ``FUSIONS`` reads for the frames ``rows``: (views, N, D)."""
        if name == "face":
            return self.face_latents.map(lambda x: x[:, rows])
        if name == "voice":
            return self.voice_latents.map(lambda x: x[None, self.frame_clip[rows]])
        face, voice = self.paired(rows, views=True)
        views = [fuse(name, Posterior(mu, logvar), voice) for mu, logvar in zip(*face)]
        return Posterior(torch.stack([p.mu for p in views]), torch.stack([p.logvar for p in views]))

    def latents(self, name: str, rows: np.ndarray) -> Latents | FusedLatents:
        """As ``fused``, but read batch by batch: a large corpus does not fit into memory."""
        if name == "voice":
            return self.voices_of(rows)
        face = Latents(Part(self.face_latents, rows))
        return face if name == "face" else FusedLatents(name, face, self.voices_of(rows))

    def voices_of(self, rows: np.ndarray) -> Latents:
        """The voice of the own clip of each of the frames ``rows``, read batch by batch."""
        clips = self.voice_latents.map(lambda clips: clips[None])  # (1 view, clips, D)
        return Latents(Part(clips, self.frame_clip[rows]))

    # ---------------------------------------------------------------- classifiers and context

    def classifier(self, name: str = "face", retrain: bool = False) -> Classifier:
        """The linear classifier on one of ``FUSIONS``; ``retrain`` as in ``vaegan``."""
        path = self.usable(f"classifier_{name}", retrain)
        if path:
            return checkpoints.load(path, Classifier)[0]
        rows = self.frames_of(self.split.train)
        labels = self.clip_labels[self.frame_clip][rows]
        if name == "product_of_experts" and not self.latents_have_one_size:
            counts = np.bincount(labels, minlength=len(self.classes))
            model = product_of_classifiers(
                self.classifier("face"), self.classifier("voice"), torch.from_numpy(counts)
            )
            history = pd.DataFrame()
        else:
            model, history = train_classifier(
                self.latents(name, rows),
                labels,
                self.profile.classifier,
                classes=len(self.classes),
                seed=self.seed,
                device=best_device(),
            )
        scores = self._validation(name, model)
        self.save(f"classifier_{name}", model, history, scores, computed=_alone_on(best_device()))
        return model

    def can(self, name: str = "can", retrain: bool = False) -> Can:
        """The context attention network "can" or "can_released"; ``retrain`` as in ``vaegan``."""
        path = self.usable(name, retrain)
        if path:
            return checkpoints.load(path, Can)[0]
        settings = self.settings(name)
        model, history = self.train_can(settings)
        if model.config["directions"] < settings.directions:
            print(f"{name}: {self._missing_directions(model, settings)}")
        scores = self._validation(name, model)
        self.save(name, model, history, scores, computed=_alone_on(best_device()))
        return model

    def _missing_directions(self, model: Can, settings: CanConfig) -> str:
        """Why a context network has fewer directions of expression than the settings say."""
        rows = self.frames_of(self.split.train, labelled=False)
        emotions = set(self.store.clips.emotion.iloc[self.frame_clip[rows]])
        if settings.crowd:
            emotions |= set(crowd.table(crowd.folder()).mood)
        lacking = ", ".join(e for e in (EMOTIONS[0], *self.classes) if e not in emotions)
        return (
            f"no training faces of {lacking}, so {model.config['directions']} directions of"
            f" expression, not {settings.directions}"
        )

    def train_can(self, settings: CanConfig) -> tuple[Can, pd.DataFrame]:
        """A context attention network on this run's latents, and its history.

        ``settings`` may differ from those of the profile. The network's classifier starts as a copy
        of the face classifier.
        """
        rows = self.frames_of(self.split.train, labelled=False)
        clips = self.frame_clip[rows]
        face, voice = Latents(Part(self.face_latents, rows)), self.voices_of(rows)
        labels, people = self.clip_labels[clips], self.store.clips.actor.to_numpy()[clips]
        if settings.crowd:
            crowd_latents, crowd_labels, crowd_people = self.crowd_faces()
            face = Latents(*face.parts, Part(crowd_latents))
            labels = np.concatenate([labels, crowd_labels])
            # Negative numbers, so that nobody of the crowd is taken for an actor.
            people = np.concatenate([people, -1 - crowd_people])
        # K kinds of expression, or classes, have K - 1 directions between them.
        kinds, classes = len(np.unique(labels)) - 1, len(self.classes) - 1
        most = {"labels": kinds, "classifier": classes, "both": 2 * min(kinds, classes)}
        directions = min(settings.directions, most[settings.directions_of])
        face, labels, people = add_imagined(face, labels, people, settings, self.seed)
        return train_can(
            face,
            voice,
            labels,
            dataclasses.replace(settings, directions=directions),
            people=people,
            classifier=self.classifier("face"),
            teacher=self.classifier("concatenation") if settings.distill_weight else None,
            decoder=self.vaegan("face").decoder if settings.around_weight else None,
            classes=len(self.classes),
            seed=self.seed,
            device=best_device(),
        )

    def classifying_network(self, name: str, retrain: bool = False) -> nn.Module:
        """The network that names the class for one of ``MODELS``; ``retrain`` as in ``vaegan``."""
        if name.startswith("can"):
            return self.can(name, retrain)
        return self.classifier(name, retrain)

    def network(self, name: str) -> nn.Module:
        """The network of any stage, loaded or trained."""
        if name in ("face", "voice"):
            return self.vaegan(name)
        return self.classifying_network(name.removeprefix("classifier_"))

    def perceiver(self) -> Perceiver:
        """The four networks of this experiment, ready for single faces and voices."""
        networks = self.vaegan("face"), self.vaegan("voice"), self.classifier("face"), self.can()
        cards = {kind: checkpoints.read_card(self.weights(kind)) for kind in ("face", "voice")}
        return Perceiver(
            *networks,
            self.classes,
            as_released(cards["voice"]),
            limits={kind: strangeness.limits_of(card) for kind, card in cards.items()},
            name=f"{self.corpus}-{self.profile_name}",
        )

    # ---------------------------------------------------------------- predictions

    @torch.no_grad()
    def log_probabilities(
        self, name: str, rows: np.ndarray, model: nn.Module | None = None, strength: float = 1.0
    ) -> np.ndarray:
        """(N, classes) log probabilities of the frames ``rows``, from posterior means.

        ``name`` is one of ``MODELS``. ``model`` takes the place of the experiment's own network.
        """
        network = model or self.classifying_network(name)
        device = best_device()
        parts = []
        with on_device(device, network):
            for block in row_blocks(rows, self._numbers_per_frame(name)):
                if isinstance(network, Can):
                    face, voice = self.paired(block)
                    to_device = [p.map(lambda x: x.to(device)) for p in (face, voice)]
                    logits, _ = network(*to_device, strength)
                else:
                    mu = self.latents(name, np.asarray(block)).batch(np.arange(len(block))).mu
                    logits = network(mu.to(device))
                parts.append(logits.log_softmax(1).cpu())
        return torch.cat(parts).numpy()

    def _numbers_per_frame(self, name: str) -> int:
        """How many numbers of a frame are in memory while a network reads it, approximately."""
        senses = [] if name == "voice" else [self.face_latents]
        senses += [] if name == "face" else [self.voice_latents]
        return 2 * sum(latents.mu.shape[-1] for latents in senses)

    def scores(self, log_probabilities: np.ndarray, rows: np.ndarray) -> dict:
        """Frame, clip and recall scores of predictions for ``rows``, with intervals over actors."""
        clips = self.frame_clip[rows]
        actors = self.store.clips.actor.to_numpy()[clips]
        return metrics.scores(
            log_probabilities, self.clip_labels[clips], clips, actors, self.profile.bootstrap
        )

    def _validation(self, name: str, model: nn.Module) -> dict:
        rows = self.frames_of(self.split.val)
        return self.scores(self.log_probabilities(name, rows, model), rows)


def _alone_on(device: torch.device) -> dict:
    """As ``loop.computed_on``, for what one device trains on latents."""
    return {"device": device.type, "devices": 1, "precision": "32-true"}


# -------------------------------------------------------------------- clips to look at


def neutral_rows(run: Run, clips: np.ndarray) -> np.ndarray:
    """One frame (the middle one) of the first neutral clip of each actor among ``clips``."""
    table = run.store.clips.iloc[clips]
    neutral = table[(table.emotion == EMOTIONS[0]) & (table.n_frames > 0)].drop_duplicates("actor")
    return (neutral.first_frame + neutral.n_frames // 2).to_numpy()


def example(
    run: Run,
    clips: np.ndarray,
    emotion: str,
    actor: int | None = None,
    table: pd.DataFrame | None = None,
) -> int | None:
    """The best example of an emotion among the rows ``clips``; None if there is none.

    Clips with a picture are preferred, then those of ``actor``, then those of the highest
    intensity; the first of several that are equal is taken. ``table`` holds the clips if they are
    not those of the run's store.
    """
    everything = run.store.clips if table is None else table
    candidates = everything.iloc[clips].assign(row=clips)
    candidates = candidates[candidates.emotion == emotion]
    ranked = candidates.assign(
        no_picture=candidates.n_frames == 0,
        other_actor=candidates.actor != actor,
        weakness=-candidates.intensity,
    ).sort_values(["no_picture", "other_actor", "weakness", "actor", "statement", "repetition"])
    return int(ranked.row.iloc[0]) if len(ranked) else None
