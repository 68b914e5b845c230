"""One function per kind of figure: data in, figure out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator, PercentFormatter

from cmlib.plots.palette import ACCENT, EMOTION_COLORS, EMOTION_MARKERS, INK, MODEL_NAMES, QUIET
from cmlib.plots.style import Plot, _new, _styled, picture

# -------------------------------------------------------------------- pictures


@_styled
def image_grid(
    images: Sequence[Sequence],
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    captions: Sequence[Sequence[str]] | None = None,
    title: str = "",
    size: float = 1.0,
) -> Plot:
    """Pictures ``images[row][column]`` (None leaves a hole), each ``size`` inches wide, with labels and captions.

    A label that is an emotion is underlined in its colour.
    """
    rows, columns = len(images), max(len(r) for r in images)
    below = 0.18 if captions is not None else 0.0
    fig = _new(
        columns * size + 0.9 * bool(len(row_labels)),
        rows * (size + below) + 0.25 + 0.3 * bool(title),
    )
    axes = fig.axes_grid(rows, columns)
    for r, c in np.ndindex(rows, columns):
        ax = axes[r, c]
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        ax.spines[:].set_visible(False)
        if c < len(images[r]) and images[r][c] is not None:
            ax.imshow(
                shown := picture(images[r][c]),
                cmap=None if shown.ndim == 3 else "magma",
                vmin=0,
                vmax=1,
            )
            if captions is not None and captions[r][c]:
                ax.set_xlabel(captions[r][c], fontsize="x-small", labelpad=2)
        if r == 0 and c < len(column_labels):
            ax.set_title(
                column_labels[c], loc="center", fontsize="small", fontweight="normal", pad=6
            )
            if color := EMOTION_COLORS.get(column_labels[c]):
                ax.plot(
                    [0, 1], [1.04, 1.04], transform=ax.transAxes, color=color, lw=3, clip_on=False
                )
        if c == 0 and r < len(row_labels):
            ax.set_ylabel(row_labels[r], rotation=0, ha="right", va="center", fontsize="small")
    if title:
        fig.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return fig


def reconstructions(
    originals: Sequence, decoded: Sequence, labels: Sequence[str] = (), title: str = ""
) -> Plot:
    """Two rows: pictures and what the decoder makes of their latents."""
    return image_grid(
        [list(originals), list(decoded)], ("original", "decoded"), labels, title=title
    )


@_styled
def mel(spectrogram, title: str = "", seconds: float = 83_200 / 22_050) -> Plot:
    """A mel spectrogram (mel bands, frames) in 0...1, low frequencies below, against time."""
    fig = _new(5, 2.4)
    ax = fig.axes_grid()[0, 0]
    look = dict(
        origin="lower", aspect="auto", cmap="magma", vmin=0, vmax=1, extent=(0, seconds, 0, 128)
    )
    drawn = ax.imshow(picture(spectrogram), **look)
    ax.set(xlabel="time, s", ylabel="mel band", title=title)
    ax.grid(False)
    fig.colorbar(drawn, ax=ax, label="level (0 to 1 per clip)", pad=0.02)
    return fig


# -------------------------------------------------------------------- training


@_styled
def loss_curves(
    history: pd.DataFrame, groups: Sequence[Sequence[str]] | None = None, title: str = ""
) -> Plot:
    """One panel per group of columns of ``history`` against its column ``epoch``; default: a panel per column."""
    import seaborn as sns

    groups = groups or [[c] for c in history.columns if c != "epoch"]
    columns = min(4, len(groups))
    rows = -(-len(groups) // columns)
    fig = _new(2.5 * columns, 1.9 * rows + 0.3)
    axes = fig.axes_grid(rows, columns).ravel()
    marker = "o" if len(history) < 12 else ""
    for ax, group in zip(axes, groups):
        for column, dashes, color in zip(
            group, ["-", "--", ":", "-."], [ACCENT, "#D0703A", INK, QUIET]
        ):
            look = dict(linestyle=dashes, color=color, label=column, marker=marker, errorbar=None)
            sns.lineplot(x=history["epoch"], y=history[column], ax=ax, **look)
        ax.legend(fontsize="x-small")
        ax.set(xlabel="epoch", ylabel="")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    for ax in axes[len(groups) :]:
        ax.set_axis_off()
    if title:
        fig.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return fig


@_styled
def latent_scatter(points, labels: Sequence[str], title: str = "") -> Plot:
    """Latents (N, D): (N, 2) as given, else their first two principal components; one colour per emotion."""
    points, labels = np.asarray(points, dtype=np.float64), np.asarray(labels)
    names = ("first", "second")
    if points.shape[1] > 2:
        points = points - points.mean(0)
        _, spread, axes = np.linalg.svd(points, full_matrices=False)
        share = spread**2 / np.maximum((spread**2).sum(), 1e-12)
        axes *= np.sign(axes[np.arange(len(axes)), np.abs(axes).argmax(1)])[
            :, None
        ]  # a sign that never flips
        points = points @ axes[:2].T
        names = [f"principal component {i + 1} ({share[i]:.0%} of variance)" for i in (0, 1)]
    fig = _new(5.2, 3.8)
    ax = fig.axes_grid()[0, 0]
    for name in [e for e in EMOTION_COLORS if e in labels]:
        look = dict(
            s=22,
            c=EMOTION_COLORS[name],
            marker=EMOTION_MARKERS[name],
            alpha=0.8,
            lw=0.3,
            edgecolor="white",
        )
        ax.scatter(*points[labels == name].T, label=name, **look)
    ax.set(xlabel=names[0], ylabel=names[1], title=title)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


# -------------------------------------------------------------------- scores


@_styled
def confusion(matrix, labels: Sequence[str], title: str = "") -> Plot:
    """Counts or rates (K, K), rows are the truth; each row is shown as per cent of the truth."""
    import seaborn as sns

    matrix = np.asarray(matrix, dtype=np.float64)
    rates = 100 * matrix / np.maximum(matrix.sum(1, keepdims=True), 1e-12)
    fig = _new(0.52 * len(labels) + 1.6, 0.45 * len(labels) + 1.1)
    ax = fig.axes_grid()[0, 0]
    sns.heatmap(
        rates,
        annot=True,
        fmt=".0f",
        cmap="Blues",
        vmin=0,
        vmax=100,
        cbar=False,
        ax=ax,
        linewidths=1,
        xticklabels=labels,
        yticklabels=labels,
    )
    ax.set(xlabel="predicted, % of the truth", ylabel="truth", title=title)
    ax.tick_params(axis="x", rotation=40)
    ax.tick_params(axis="y", rotation=0)
    return fig


@_styled
def accuracy_bars(
    models: dict[str, dict], chance: float, score: str = "clip_accuracy", title: str = ""
) -> Plot:
    """Scores {model: {score: {"value", "low", "high"}}} as bars with their intervals, and the chance line."""
    fig = _new(5.6, 0.5 * len(models) + 0.9)
    ax = fig.axes_grid()[0, 0]
    for row, (name, scores) in enumerate(models.items()):
        value, low, high = (scores[score][k] for k in ("value", "low", "high"))
        ax.barh(row, value, color=ACCENT if name == "can" else "#B9C6D3", height=0.62)
        ax.plot([low, high], [row, row], color=INK, lw=1.4, marker="|", ms=7)
        look = dict(va="center", fontweight="bold" if name == "can" else None)
        ax.text(max(high, value) + 0.015, row, f"{100 * value:.0f} %", **look)
    ax.axvline(chance, color=INK, ls="--", lw=1)
    ax.text(chance + 0.005, -0.62, f"chance {100 * chance:.0f} %", fontsize="x-small", va="center")
    ax.set(yticks=range(len(models)), xlim=(0, 1.08), ylim=(len(models) - 0.5, -0.9), title=title)
    ax.set_yticklabels([MODEL_NAMES.get(n, n) for n in models])
    ax.set_xlabel(f"{score.replace('_', ' ')}, 95 % intervals over actors")
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.grid(False, axis="y")
    return fig


@_styled
def point_panels(
    table: pd.DataFrame,
    label: str,
    chance: float | None = None,
    limits: tuple[float, float] | None = None,
    title: str = "",
) -> Plot:
    """Scores with intervals: columns ``panel``, ``x``, ``group``, ``value``, ``low``, ``high``; a panel beside the other.

    In a panel the values of ``x`` stand in their order, the groups of one x side by side; the last group is accented.
    """
    import seaborn as sns

    panels, groups = (list(dict.fromkeys(table[c])) for c in ("panel", "group"))
    widths = [max(2, table[table.panel == p].x.nunique()) for p in panels]
    fig = _new(1.3 + sum(widths) * max(0.42, 0.13 * len(groups)) + 0.35 * len(panels), 3.0)
    axes = fig.axes_grid(1, len(panels), sharey=True, width_ratios=widths)[0]
    colors = [*sns.color_palette(["#D0703A", INK, QUIET, "#6FA287"], len(groups) - 1), ACCENT]
    for ax, name in zip(axes, panels):
        own = table[table.panel == name]
        places = {x: i for i, x in enumerate(dict.fromkeys(own.x))}
        for number, group in enumerate(groups):
            part = own[own.group == group]
            x = part.x.map(places).astype(float) + 0.13 * (number - (len(groups) - 1) / 2)
            ax.vlines(x, part.low, part.high, color=colors[number], lw=1.2)
            look = dict(color=colors[number], ms=4.5, label=MODEL_NAMES.get(group, group))
            ax.plot(x, part.value, "oDs^v"[number % 5], **look)
        ax.set_xticks(
            list(places.values()), list(places), rotation=35, ha="right", rotation_mode="anchor"
        )
        ax.set_title(name, fontsize="small")
        ax.set_xlim(-0.6, len(places) - 0.4)
        ax.grid(False, axis="x")
        if chance is not None:
            ax.axhline(chance, color=INK, ls="--", lw=1)
    axes[0].set(ylabel=label, ylim=limits)
    if len(groups) > 1:
        axes[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="x-small")
    if title:
        fig.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return fig


@_styled
def reliability(table: pd.DataFrame, title: str = "") -> Plot:
    """Accuracy against confidence: columns ``model``, ``confidence``, ``accuracy``, ``count``; one panel per model.

    On the dashed line a model is right as often as it says; a dot's area is its number of answers.
    """
    models = list(dict.fromkeys(table.model))
    fig = _new(1.75 * len(models) + 0.5, 2.3)
    for ax, name in zip(fig.axes_grid(1, len(models), sharey=True)[0], models):
        own, color = table[table.model == name], ACCENT if name == "can" else INK
        ax.plot([0, 1], [0, 1], color=QUIET, ls="--", lw=1)
        ax.plot(own.confidence, own.accuracy, color=color, lw=1)
        ax.scatter(
            own.confidence, own.accuracy, s=4 + 140 * own["count"] / own["count"].sum(), color=color
        )
        ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", aspect="equal")
        ax.set_title(MODEL_NAMES.get(name, name), fontsize="small")
    fig.axes[0].set_ylabel("accuracy")
    if title:
        fig.suptitle(title, x=0.01, ha="left", fontweight="bold")
    return fig


@_styled
def probability_bars(before, after, labels: Sequence[str], title: str = "") -> Plot:
    """Class probabilities (K,) of the face alone (hollow) and in context (filled)."""
    before, after = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    fig = _new(4.6, 0.34 * len(labels) + 0.9)
    ax = fig.axes_grid()[0, 0]
    rows, colors = np.arange(len(labels)), [EMOTION_COLORS[e] for e in labels]
    ax.barh(
        rows - 0.2,
        before,
        0.36,
        color="white",
        edgecolor=colors,
        lw=1.5,
        label="before: face alone",
    )
    ax.barh(
        rows + 0.2, after, 0.36, color=colors, edgecolor=colors, lw=1.5, label="after: in context"
    )
    ax.set(xlim=(0, 1), ylim=(len(labels) - 0.4, -0.6), xlabel="probability", title=title)
    ax.set_yticks(rows, labels)
    ax.grid(False, axis="y")
    for patch in ax.legend(loc="lower right", fontsize="x-small").get_patches():
        patch.set(
            edgecolor=INK, facecolor="white" if patch.get_facecolor()[:3] == (1, 1, 1) else INK
        )
    return fig


# -------------------------------------------------------------------- context attention


@_styled
def attention_function(
    queries,
    values,
    labels: Sequence[str] = (),
    bounds: tuple[float, float] | None = None,
    title: str = "",
) -> Plot:
    """The scalar function f_v that one face applies to every dimension of a voice.

    ``queries`` (Q,), ``values`` (Q,) or (B, Q): several rows are several faces, named by ``labels``.  ``bounds`` are
    min u and max u, which no output can leave.
    """
    import seaborn as sns

    queries, values = np.asarray(queries), np.atleast_2d(np.asarray(values))
    fig = _new(5.4, 3.0)
    ax = fig.axes_grid()[0, 0]
    for row, out in enumerate(values):
        label = labels[row] if row < len(labels) else None
        other = ACCENT if len(values) == 1 else sns.color_palette("viridis", len(values))[row]
        ax.plot(queries, out, color=EMOTION_COLORS.get(label, other), lw=1.8, label=label)
    for bound, name in zip(bounds or (), ("min u", "max u")):
        ax.axhline(bound, color=QUIET, ls="--", lw=1)
        ax.text(queries[0], bound, f" {name}", fontsize="x-small", va="bottom")
    ax.set(xlabel="query $q_i$ (from the voice)", ylabel="output $f_v(q_i)$", title=title)
    if len(labels):
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


@_styled
def shift_bars(
    table: pd.DataFrame, value: str = "kl", label: str = "KL shift, nats", title: str = ""
) -> Plot:
    """One bar per row: columns ``emotion``, ``value`` and, if there, ``low`` and ``high``."""
    fig = _new(5.2, 2.6)
    ax = fig.axes_grid()[0, 0]
    ax.bar(
        table["emotion"],
        table[value],
        color=[EMOTION_COLORS[e] for e in table["emotion"]],
        width=0.7,
    )
    if {"low", "high"} <= set(table.columns):
        ax.vlines(table["emotion"], table["low"], table["high"], color=INK, lw=1.4)
    ax.axhline(0, color=INK, lw=0.8)
    ax.set(ylabel=label, xlabel="", title=title)
    ax.grid(False, axis="x")
    ax.tick_params(axis="x", rotation=30)
    return fig


@_styled
def strength_curves(table: pd.DataFrame, label: str, title: str = "") -> Plot:
    """Against the context strength t: columns ``strength``, ``value``, optional ``low``, ``high``, ``emotion``."""
    fig = _new(5.2, 3.0)
    ax = fig.axes_grid()[0, 0]
    for name, own in (
        table.groupby("emotion", sort=False) if "emotion" in table else [(None, table)]
    ):
        color = EMOTION_COLORS.get(name, ACCENT)
        look = dict(color=color, marker=EMOTION_MARKERS.get(name, "o"), ms=5, lw=1.8, label=name)
        ax.plot(own["strength"], own["value"], **look)
        if {"low", "high"} <= set(own.columns):
            ax.fill_between(own["strength"], own["low"], own["high"], color=color, alpha=0.15, lw=0)
    ax.set(xlabel="context strength t", ylabel=label, title=title)
    if "emotion" in table:
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig
