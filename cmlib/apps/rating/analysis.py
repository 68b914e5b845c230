"""The analysis of ratings: rates, means, and a mixed model with a level for each rater."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from cmlib import metrics
from cmlib.apps.rating.items import KINDS, MENTAL_REPRESENTATION, RECONSTRUCTION, RatingError
from cmlib.corpora.names import EMOTIONS

MIN_RATERS = 3  # fewer cannot show how much raters differ


def score_naming(ratings: pd.DataFrame) -> pd.DataFrame:
    """Whether a picture is named after an emotion, for each rater, actor and emotion.

    There is a row for the reconstruction and one for the mental representation. Columns: rater,
    actor, voice (the emotion), kind (of ``KINDS``) and ``named`` (0 or 1). The one answer about a
    reconstruction is compared with each emotion in turn; that is what chance and taste alone give.
    """
    shifted = ratings[ratings.kind == MENTAL_REPRESENTATION]
    reconstructions = ratings[ratings.kind == RECONSTRUCTION].drop(columns="voice")
    voices = shifted.loc[:, ["rater", "actor", "voice"]]
    plain = voices.merge(reconstructions, on=["rater", "actor"])
    both = pd.concat([plain, shifted])
    order = [*EMOTIONS, *sorted(set(both.voice) - set(EMOTIONS))]
    emotions = [emotion for emotion in order if emotion in set(both.voice)]
    both = both.assign(
        named=(both.emotion == both.voice).astype(int),
        voice=pd.Categorical(both.voice, emotions),
        kind=pd.Categorical(both.kind, [RECONSTRUCTION, MENTAL_REPRESENTATION]),
    )
    columns = ["rater", "actor", "voice", "kind", "named"]
    return both.loc[:, columns].reset_index(drop=True)


def mean_ratings(
    table: pd.DataFrame, outcome: str, by: Sequence[str], resamples: int = 2000
) -> pd.DataFrame:
    """Mean of ``outcome`` for each group of the columns ``by``, with 95 % intervals.

    Columns: those of ``by``, value, low, high; intervals are bootstrap intervals over raters.
    """
    rows = []
    for key, group in table.groupby(list(by), observed=True):
        values, raters = group[outcome].to_numpy(float), group.rater.to_numpy()
        names = key if isinstance(key, tuple) else (key,)
        rows.append(dict(zip(by, names)) | metrics.mean_interval(values, raters, resamples))
    return pd.DataFrame(rows)


def fit_mixed_model(table: pd.DataFrame, outcome: str):
    """Linear mixed model ``outcome ~ kind`` with a random intercept for each rater (REML).

    outcome_ij = b_0 + b_kind + r_i + e_ij,  r_i ~ N(0, s_r^2): raters differ in level, a kind moves
    all alike (Laird & Ware 1982). Returns the result of statsmodels. RatingError with fewer than
    three raters.
    """
    import statsmodels.formula.api as smf  # here: it takes a second

    n_raters = table.rater.nunique()
    if n_raters < MIN_RATERS:
        raise RatingError(f"{n_raters} raters: a mixed model needs at least three")
    kinds = [kind for kind in KINDS if kind in set(table.kind)]
    # statsmodels 0.15 truncates internally if the outcome is an integer, hence floats
    table = table.assign(
        kind=pd.Categorical(table.kind, kinds), outcome=table[outcome].astype(float)
    )
    with warnings.catch_warnings():
        # raters who do not differ give a variance of zero, which is not a fault
        warnings.simplefilter("ignore")
        result = smf.mixedlm("outcome ~ kind", table, groups=table.rater).fit(method=["powell"])
    if not np.isfinite([*result.fe_params, *result.bse_fe]).all():
        raise RatingError(
            f"{outcome}: the model cannot be fitted to {len(table)} answers; "
            "collect more, of each kind of picture"
        )
    return result


def rise_over_raters(named: pd.DataFrame) -> dict[str, float]:
    """How much more often raters name the voice's emotion with the voice than without it.

    ``named`` is the table of ``score_naming``. Each rater has one rise, the mean over actors and
    emotions. A paired t-test over raters gives value, low and high (95 %), and p (two-sided).
    Unlike the mixed model with a random intercept, it lets raters differ in how far they are
    moved. RatingError with fewer than three raters.
    """
    shares = named.pivot_table(index="rater", columns="kind", values="named", observed=True)
    if len(shares) < MIN_RATERS:
        raise RatingError(f"{len(shares)} raters: a t-test over raters needs at least three")
    rises = (shares[MENTAL_REPRESENTATION] - shares[RECONSTRUCTION]).to_numpy()
    result: Any = stats.ttest_1samp(rises, 0)
    interval = result.confidence_interval(0.95)
    return {
        "value": float(rises.mean()),
        "low": float(interval.low),
        "high": float(interval.high),
        "p": float(result.pvalue),
    }


def fixed_effects(result) -> pd.DataFrame:
    """The fixed effects of ``fit_mixed_model``: columns effect, value, low, high (95 %), p.

    The first is the level of the reconstruction, the others are differences from it.
    """
    effects = result.fe_params.index
    intervals = result.conf_int().loc[effects].to_numpy()  # (effects, 2)
    kinds = [name.removeprefix("kind[T.").removesuffix("]") for name in effects[1:]]
    names = ["level of the reconstruction", *(f"{kind} against it" for kind in kinds)]
    return pd.DataFrame(
        {
            "effect": names,
            "value": result.fe_params.to_numpy(),
            "low": intervals[:, 0],
            "high": intervals[:, 1],
            "p": result.pvalues[effects].to_numpy(),
        }
    )
