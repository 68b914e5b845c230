"""The folder of one experiment (corpus, profile, fold, seed), and the rows of its corpus."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from cmlib import files
from cmlib.config import Profile, get_profile
from cmlib.corpora import CorpusError, crowd
from cmlib.corpora.names import classes_of
from cmlib.corpora.splits import AS_RELEASED, Split, split, split_from_yaml
from cmlib.experiment.notebook_parameters import check_injected
from cmlib.preparation.prepare import prepare
from cmlib.preparation.store import Store
from cmlib.preparation.unprepared import UnpreparedCorpus, open_or_scan
from cmlib.training.batches import Pictures


@dataclass(frozen=True)
class CorpusRows:
    """The clips and frames of one experiment.

    It writes to ``out_dir``; if that is empty, to a folder such as ``runs/<corpus>-<profile>``
    (``files.runs_root``).
    """

    corpus: str = "actors"
    profile_name: str = "quick"
    seed: int = 0
    fold: int = 1
    out_dir: str = ""

    def __post_init__(self):
        check_injected()  # every notebook makes a run in its first cell

    @property
    def profile(self) -> Profile:
        """The settings of this experiment."""
        return get_profile(self.profile_name)

    @property
    def folder(self) -> Path:
        """Where this experiment writes.

        Any fold but 1, and any seed but 0, has a folder of its own.
        """
        if self.out_dir:
            return files.expand_home(self.out_dir)
        is_default = (self.fold, self.seed) == (1, 0)
        other = "" if is_default else f"-fold{self.fold}-seed{self.seed}"
        return files.runs_root() / f"{self.corpus}-{self.profile_name}{other}"

    @property
    def classes(self) -> tuple[str, ...]:
        """What is trained and scored, in the order of the logits.

        They are the emotions of the corpus, and neutral if the profile says so.
        """
        return classes_of(self.corpus, self.profile.neutral)

    # ---------------------------------------------------------------- the prepared corpus

    @cached_property
    def store(self) -> Store:
        """The prepared corpus; prepared now if it is not yet."""
        return prepare(self.corpus, self.profile)

    @cached_property
    def shown(self) -> Store | UnpreparedCorpus:
        """The corpus for looking at a few clips: the prepared one, or else its files."""
        # cached_property keeps its values in __dict__, so this asks whether the store is open.
        if "store" in self.__dict__:
            return self.store
        return open_or_scan(self.corpus, self.profile)

    @cached_property
    def split(self) -> Split:
        """Training, validation and test clips of the fold, as rows of ``store.clips``."""
        return self.split_of(self.store)

    def split_of(self, store: Store | UnpreparedCorpus) -> Split:
        """Training, validation and test clips as rows of ``store.clips``."""
        if self.fold != AS_RELEASED:
            return split(store.clips, self.fold)
        root = store.root
        lists = sorted(root.glob("fold_1.y*ml")) or sorted(root.glob("*.y*ml"))
        if len(lists) != 1:
            names = ", ".join(file.name for file in lists) or "none"
            raise CorpusError(
                f"{root}: fold 0 is the authors' split, which needs one YAML file in this folder,"
                f" or fold_1.yaml; found: {names}"
            )
        return split_from_yaml(lists, store.clips)

    # ---------------------------------------------------------------- what networks see

    @cached_property
    def faces(self) -> Pictures:
        """Frames of the corpus, then pictures of the crowd (from row ``len(store.frames)`` on)."""
        limit = self.profile.data.crowd_limit
        if limit == 0:
            return Pictures(self.store.frames)
        return Pictures(self.store.frames, crowd.load(self.profile.data.image_size, limit))

    @cached_property
    def mels(self) -> Pictures:
        """The spectrogram of each clip."""
        return Pictures(self.store.mels)

    @cached_property
    def frame_clip(self) -> np.ndarray:
        """The clip of each frame; where a corpus has sound only, each clip stands for itself."""
        if self.store.has_faces:
            return np.array(self.store.frame_clip)
        return np.arange(len(self.store.clips))

    @cached_property
    def clip_labels(self) -> np.ndarray:
        """(clips,) position of each clip's emotion in ``classes``; -1 (neutral) if it is none."""
        number = {emotion: i for i, emotion in enumerate(self.classes)}
        return np.array([number.get(emotion, -1) for emotion in self.store.clips.emotion])

    def frames_of(self, clips: np.ndarray, labelled: bool = True) -> np.ndarray:
        """Rows of the frames of these clips, sorted; ``labelled`` leaves out clips of no class."""
        keep = np.zeros(len(self.store.clips), bool)
        keep[clips] = True
        if labelled:
            keep &= self.clip_labels >= 0
        return np.flatnonzero(keep[self.frame_clip])

    # ---------------------------------------------------------------- what several pairs share

    # In pairs across corpora (``cmlib.corpora.pairs``) a picture has several voices, and a voice
    # several pictures. In every other corpus each clip has its own.

    @property
    def shares_inputs(self) -> bool:
        """Whether several clips share a picture, or a voice."""
        return "voice_actor" in self.store.clips

    def distinct(self, clips: np.ndarray, kind: str, of_actor: bool = False) -> np.ndarray:
        """These clips, but only one of those that share a picture ("face") or a "voice", sorted.

        It is the first that has a class, if any has. With ``of_actor``, clips of several actors
        that share a voice are all kept.
        """
        if not self.shares_inputs:
            return clips
        columns = [{"face": "file", "voice": "sound"}[kind]]
        if of_actor:
            columns.append("actor")
        classes_first = clips[np.argsort(self.clip_labels[clips] < 0, kind="stable")]
        repeated = self.store.clips.iloc[classes_first].duplicated(columns).to_numpy()
        return np.sort(classes_first[~repeated])

    def distinct_inputs(self, kind: str) -> tuple[np.ndarray, np.ndarray]:
        """The rows (M,) of different frames, or of different voices, and the place of all in them.

        ``kind`` is "face" or "voice". The places (N,) say that frame i shows the picture of the row
        ``rows[places[i]]``.
        """
        if kind == "voice":
            names = self.store.clips.sound.to_numpy()
        else:
            names = self.store.clips.file.to_numpy()[self.frame_clip]
        if not self.shares_inputs:
            return np.arange(len(names)), np.arange(len(names))
        _, rows, places = np.unique(names, return_index=True, return_inverse=True)
        return rows, places

    def labelled(self, clips: np.ndarray) -> np.ndarray:
        """The clips among these that have a class and, in a corpus with faces, a picture."""
        has_class = self.clip_labels[clips] >= 0
        has_picture = self.store.clips.n_frames.to_numpy()[clips] > 0
        return clips[has_class & (has_picture | (not self.store.has_faces))]
