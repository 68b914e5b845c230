"""A population of actors as a statistical model.

Three levels of actor effects lie on top of each emotion's mean. A clip's vector (17 action units,
or 23 numbers of the voice) in the cell c = (emotion, intensity) is

    x = mean_c + sex + statement
        + over_c * (a * actor + b * actor_emotion + d * actor_cell) + within_c * residual

with a^2 = shared, b^2 = same_emotion - shared, d^2 = 1 - same_emotion per feature, and standard
normal vectors whose features are correlated as in the real sample. `fit` takes the numbers from
measured clips, and `Population` draws new clips from them. Only means, standard deviations and
correlations leave `fit`: no value of a single clip or actor.
"""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path

import numpy as np

EMOTIONS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")
CELLS = tuple((e, i) for e in EMOTIONS for i in (1, 2) if (e, i) != ("neutral", 2))
CAST = 24  # actors of the corpus
STATISTICS = Path(__file__).with_name("statistics.json")
# Correlations are shrunk towards zero, and the spreads of a cell towards their mean over cells.
SHRINK = 0.15


# Long: each of these statistics is taken after those before it have been taken away.
def fit(
    x: np.ndarray, cell: np.ndarray, actor: np.ndarray, statement: np.ndarray, features: list[str]
) -> dict:
    """Statistics of clips x (n, d), as a dict for JSON.

    `cell` indexes CELLS, an even `actor` is female, and `statement` is 1 or 2.
    """
    names = np.unique(actor)
    female = np.where(actor % 2 == 0, 0.5, -0.5)[:, None]
    second = np.where(statement == 2, 0.5, -0.5)[:, None]
    sex = x[actor % 2 == 0].mean(0) - x[actor % 2 == 1].mean(0)
    spoken = x[statement == 2].mean(0) - x[statement == 1].mean(0)
    x = x - female * sex - second * spoken
    mean = np.stack([x[cell == c].mean(0) for c in range(len(CELLS))])
    acts = np.stack(
        [[x[(cell == c) & (actor == a)].mean(0) for a in names] for c in range(len(CELLS))]
    )  # (cells, actors, d)
    rest = x - acts[cell, np.searchsorted(names, actor)]
    clips = len(x) / len(names) / len(CELLS)  # clips of one actor in a cell, on average
    within = np.stack(
        [
            np.sqrt((rest[cell == c] ** 2).sum(0) / ((cell == c).sum() - len(names)))
            for c in range(len(CELLS))
        ]
    )
    effect = acts - mean[:, None]
    over = np.sqrt(np.maximum(effect.var(1, ddof=1) - within**2 / clips, (0.1 * within) ** 2))
    covariance = np.einsum("cad,ead->ced", effect, effect) / (len(names) - 1)
    ratio = covariance / (over[:, None] * over[None])
    emotion = np.array([EMOTIONS.index(e) for e, _ in CELLS])
    pairs = emotion[:, None] != emotion[None]
    twins = (emotion[:, None] == emotion[None]) & ~np.eye(len(CELLS), dtype=bool)
    weight = over[:, None] * over[None]
    shared = np.clip((ratio * weight)[pairs].sum(0) / weight[pairs].sum(0), 0, 0.95)
    same = np.clip((ratio * weight)[twins].sum(0) / weight[twins].sum(0), shared, 0.97)

    def correlation(z):
        return np.corrcoef(z.reshape(-1, z.shape[-1]).T) * (1 - SHRINK) + SHRINK * np.eye(
            z.shape[-1]
        )

    def shrunk(s):
        return s * (1 - SHRINK) + SHRINK * s.mean(0)

    def table(v):
        return {
            e: {
                str(i): np.round(v[CELLS.index((e, i))], 4).tolist()
                for i in (1, 2)
                if (e, i) in CELLS
            }
            for e in EMOTIONS
        }

    neutral = acts - acts[:1]
    numbers = {
        "features": features,
        "sex": sex,
        "statement": spoken,
        "shared": shared,
        "same_emotion": same,
        "correlation_over": correlation(effect / over[:, None]),
        "correlation_within": correlation(rest / within[cell]),
    }
    out = {k: v if isinstance(v, list) else np.round(v, 4).tolist() for k, v in numbers.items()}
    return out | {
        "mean": table(mean),
        "over_actors": table(shrunk(over)),
        "within_actors": table(shrunk(within)),
        "less_neutral": {
            "mean": table(neutral.mean(1)),
            "sd_over_actors": table(neutral.std(1, ddof=1)),
        },
    }


@lru_cache(maxsize=4)
def statistics(part: str) -> dict:
    """The part "face" or "voice" of statistics.json."""
    return json.loads(STATISTICS.read_text())[part]


class Population:
    """Draws clips from the fitted model.

    `Population("voice", seed).draw(actor=12, emotion="angry", intensity=2, statement=1, rng)`.
    """

    def __init__(self, part: str, seed: int = 0, spread: tuple[float, float] = (1.0, 1.0)):
        """`spread` scales the actors' deviations from a cell's mean, and the clips' from theirs."""
        s = statistics(part)
        self.part, self.seed, self.spread, self.features = part, seed, spread, s["features"]
        self.sex, self.spoken = np.array(s["sex"]), np.array(s["statement"])
        shared, same = np.array(s["shared"]), np.array(s["same_emotion"])
        self.levels = np.sqrt([shared, same - shared, 1 - same])
        self.root_over = np.linalg.cholesky(np.array(s["correlation_over"]))
        self.root_within = np.linalg.cholesky(np.array(s["correlation_within"]))
        self.mean, self.over, self.within = (
            np.array([s[k][e][str(i)] for e, i in CELLS])
            for k in ("mean", "over_actors", "within_actors")
        )

    @lru_cache(maxsize=64)  # noqa: B019 - a handful of actors
    def effects(self, actor: int) -> np.ndarray:
        """(cells, d) of standard deviations by which this actor differs from the mean in each cell.

        The actors of the cast (1..24) differ from their own mean, so that the cast as a whole has
        the fitted means and not those of 24 accidents.
        """
        return self._free(actor) - (self._cast() if actor <= CAST else 0)

    @lru_cache(maxsize=1)  # noqa: B019
    def _cast(self) -> np.ndarray:
        return np.mean([self._free(k) for k in range(1, CAST + 1)], 0)

    def _free(self, actor: int) -> np.ndarray:
        rng = np.random.default_rng([self.seed, 11, len(self.features), actor])
        z = (
            np.clip(rng.normal(size=(1 + len(EMOTIONS) + len(CELLS), len(self.sex))), -2.2, 2.2)
            @ self.root_over.T
        )
        deviation = z[1 + len(EMOTIONS) :]
        habit = np.stack([z[1 + EMOTIONS.index(e)] for e, _ in CELLS])
        return self.levels[0] * z[0] + self.levels[1] * habit + self.levels[2] * deviation

    def centre(self, actor: int, emotion: str, intensity: int, statement: int = 1) -> np.ndarray:
        """What this actor does on average in this cell, (d,)."""
        c = CELLS.index((emotion, intensity))
        fixed = (
            self.mean[c]
            + (0.5 if actor % 2 == 0 else -0.5) * self.sex
            + (statement - 1.5) * self.spoken
        )
        return fixed + self.spread[0] * self.over[c] * self.effects(actor)[c]

    def draw(
        self, actor: int, emotion: str, intensity: int, statement: int, rng: np.random.Generator
    ) -> np.ndarray:
        """One clip at random, (d,)."""
        c = CELLS.index((emotion, intensity))
        residual = self.root_within @ np.clip(rng.normal(size=len(self.sex)), -2.5, 2.5)
        return (
            self.centre(actor, emotion, intensity, statement)
            + self.spread[1] * self.within[c] * residual
        )
