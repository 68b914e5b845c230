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

SIDE = 32  # pixels of the pictures that fisherfaces look at


class Fisherfaces:
    """Who looks like whom: linear discriminants of people on principal components of small pictures.

    Belhumeur, Hespanha & Kriegman (1997), IEEE PAMI 19(7): directions in which pictures of one person, with all their
    expressions, are close together and people are far apart.
    """

    def __init__(
        self, pictures: np.ndarray, people: np.ndarray, components: int = 150, directions: int = 60
    ):
        """``pictures`` (N, S, S, 3) uint8 of ``people`` (N,); each person needs two or more pictures."""
        flat = self._flat(torch.from_numpy(np.array(pictures)).permute(0, 3, 1, 2).float() / 255)
        self.axes = PCA(
            min(components, len(flat) // 2), svd_solver="randomized", random_state=0
        ).fit(flat)
        most = min(directions, len(np.unique(people)) - 1, self.axes.n_components_)
        self.people = LinearDiscriminantAnalysis(
            solver="eigen", shrinkage="auto", n_components=most
        )
        self.people.fit(self.axes.transform(flat), people)

    @classmethod
    def of_crowd(cls, size: int, limit: int | None = None) -> Fisherfaces:
        """Learnt from the people of the crowd (``crowd.home``); CorpusError without it."""
        return cls(
            crowd.load(size, limit, home := crowd.home()),
            crowd.table(home, limit).person.to_numpy(),
        )

    @staticmethod
    def _flat(x: Tensor) -> np.ndarray:
        return F.interpolate(x, (SIDE, SIDE), mode="area").flatten(1).numpy()

    def __call__(self, x: Tensor) -> np.ndarray:
        """Pictures (N, 3, S, S) in 0...1 -> vectors of length one (N, E); their products are similarities."""
        vectors = self.people.transform(self.axes.transform(self._flat(x)))
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)


class Typicality:
    """Squared Mahalanobis distance to the latents of real training frames, and the distance that 99 % of the frames of
    unseen actors keep."""

    def __init__(self, train: Tensor, unseen: Tensor):
        """Latent means (N, D) of training frames and (M, D) of frames of validation actors."""
        self.mean, cov = train.mean(0), torch.cov(train.T)
        self.precision = torch.linalg.inv(cov + 1e-3 * cov.diagonal().mean() * torch.eye(len(cov)))
        self.limit = float(torch.quantile(self(unseen), 0.99))

    @classmethod
    def of(cls, run: Run) -> Typicality:
        mu = run.face_latents.mu[0]
        return cls(
            mu[run.frames_of(run.split.train, False)], mu[run.frames_of(run.split.val, False)]
        )

    def __call__(self, mu: Tensor) -> Tensor:
        """(N, D) -> (N,)"""
        return ((mu - self.mean) @ self.precision * (mu - self.mean)).sum(1)
