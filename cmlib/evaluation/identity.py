"""Is it still the same person, and still a typical face? Fisherfaces and typicality."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.decomposition import PCA
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from torch import Tensor
from torch.nn import functional as F

from cmlib.corpora import crowd
from cmlib.experiment.run import Run
from cmlib.models.moments import Rows, blocks_of, covariance
from cmlib.training.latents import Latents, Means, Part

# Pixels: identity shows in coarse features, and few people allow only few parameters.
FISHERFACE_SIZE = 32
FRAMES_PER_ACTOR = 24  # real frames whose mean vector represents an actor
CROWD_PICTURES = 3600  # from which fisherfaces learn: half of those of every person


class Fisherfaces:
    """Recognise people: a linear discriminant analysis of principal components of small pictures.

    Its directions bring pictures of one person, with all expressions, close together, and move
    people far apart. Belhumeur, Hespanha & Kriegman (1997), IEEE PAMI 19(7).
    """

    def __init__(
        self, pictures: np.ndarray, people: np.ndarray, components: int = 150, directions: int = 60
    ):
        """``pictures`` (N, S, S, 3) uint8 of ``people`` (N,), two or more of each person."""
        # Copy, since torch warns about read-only memory maps.
        x = torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 255
        flat = self._flatten(x)
        components = min(components, len(flat) // 2)
        self.pca = PCA(components, svd_solver="randomized", random_state=0).fit(flat)
        self.lda = LinearDiscriminantAnalysis(
            solver="eigen",
            shrinkage="auto",
            n_components=min(directions, len(np.unique(people)) - 1, components),
        )
        self.lda.fit(self.pca.transform(flat), people)

    @classmethod
    def of_crowd(cls, size: int) -> Fisherfaces:
        """Learn from the crowd, in pictures of ``size`` pixels; raises CorpusError without it."""
        folder = crowd.folder()
        pictures = crowd.load(size, CROWD_PICTURES, folder)
        return cls(pictures, crowd.table(folder, CROWD_PICTURES).person.to_numpy())

    @staticmethod
    def _flatten(pictures: Tensor) -> np.ndarray:
        small = F.interpolate(pictures, (FISHERFACE_SIZE, FISHERFACE_SIZE), mode="area")
        return small.flatten(1).numpy()

    def __call__(self, pictures: Tensor) -> np.ndarray:
        """Pictures (N, 3, S, S) in 0...1 -> unit vectors (N, E).

        The dot product of two vectors is the similarity of their pictures.
        """
        vectors = self.lda.transform(self.pca.transform(self._flatten(pictures)))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)


def actor_vectors(run: Run, fisherfaces: Fisherfaces) -> tuple[np.ndarray, np.ndarray]:
    """(actors (A,) sorted, their mean vectors (A, E)), from up to 24 real frames of each."""
    actor_of_frame = run.store.clips.actor.to_numpy()[run.frame_clip]
    actors = np.unique(actor_of_frame)
    vectors = []
    for actor in actors:
        rows = np.flatnonzero(actor_of_frame == actor)
        count = min(FRAMES_PER_ACTOR, len(rows))
        rows = rows[np.linspace(0, len(rows) - 1, count).astype(int)]
        vectors.append(fisherfaces(run.faces.batch(rows)).mean(0))
    return actors, np.stack(vectors)


class Typicality:
    """Squared Mahalanobis distance of latents from those of real training frames.

    99 % of the real frames of unseen actors are within the distance ``limit``. A picture beyond it
    is not a typical face.
    """

    def __init__(self, train: Rows, unseen: Rows):
        """Latent means (N, D) of training frames, and (M, D) of frames of validation actors."""
        latent = train[torch.arange(1)].shape[1]
        self.mean, spread = covariance(train, latent)  # (D,), (D, D)
        ridge = 1e-3 * spread.diagonal().mean() * torch.eye(latent)
        self.precision = torch.linalg.inv(spread + ridge)
        distances = torch.cat([self(mu) for mu in blocks_of(unseen, latent)])
        self.limit = float(torch.quantile(distances, 0.99))

    @classmethod
    def of_run(cls, run: Run) -> Typicality:
        """Learn from the latents of the training and validation frames of a run."""
        latents = Latents(Part(run.face_latents))
        train = run.frames_of(run.split.train, labelled=False)
        validation = run.frames_of(run.split.val, labelled=False)
        return cls(Means(latents, train), Means(latents, validation))

    def __call__(self, mu: Tensor) -> Tensor:
        """Latent means (N, D) -> squared distances (N,)."""
        deviation = mu - self.mean
        return (deviation @ self.precision * deviation).sum(1)
