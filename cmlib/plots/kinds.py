"""Building blocks: one function for each kind of figure, data in, figure out.

``notebook_01.py`` and its neighbours say what a single figure shows, and how it is labelled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.ticker import MaxNLocator, PercentFormatter

from cmlib.plots.palette import ACCENT, EMOTION_COLORS, EMOTION_MARKERS, INK, MODEL_NAMES, QUIET
from cmlib.plots.style import Plot, new_plot, picture, styled

RUST, GREEN, PALE = "#D0703A", "#6FA287", "#B9C6D3"

# -------------------------------------------------------------------- pictures


@styled
def image_grid(
    images: Sequence[Sequence],
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    captions: Sequence[Sequence[str]] | None = None,
    title: str = "",
    size: float = 1.0,
) -> Plot:
    """A grid of pictures with labels and captions.

    ``images[row][column]`` are ``size`` inches wide; None leaves a hole. The label of a column is
    underlined in its colour where it is an emotion.
    """
    rows, columns = len(images), max(len(r) for r in images)
    room_for_captions = 0.18 if captions is not None else 0.0
    width = columns * size + (0.9 if len(row_labels) else 0)
    height = rows * (size + room_for_captions) + 0.25 + (0.3 if title else 0)
    fig = new_plot(width, height)
    axes = fig.axes_grid(rows, columns)
    for ax in axes.ravel():
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        ax.spines[:].set_visible(False)
    captions = captions or [[""] * len(row) for row in images]
    for axes_of_row, row, captions_of_row in zip(axes, images, captions, strict=True):
        for ax, image, caption in zip(axes_of_row, row, captions_of_row):
            if image is not None:
                _show_picture(ax, image, caption)
    for ax, label in zip(axes[0], column_labels):
        _label_column(ax, label)
    for ax, label in zip(axes[:, 0], row_labels):
        ax.set_ylabel(label, rotation=0, ha="right", va="center", fontsize="small")
    fig.heading(title)
    return fig


def _show_picture(ax: Axes, image, caption: str) -> None:
    pixels = picture(image)
    ax.imshow(pixels, cmap=None if pixels.ndim == 3 else "magma", vmin=0, vmax=1)
    if caption:
        ax.set_xlabel(caption, fontsize="x-small", labelpad=2)


def _label_column(ax: Axes, label: str) -> None:
    ax.set_title(label, loc="center", fontsize="small", fontweight="normal", pad=6)
    color = EMOTION_COLORS.get(label)
    if color:
        ax.plot([0, 1], [1.04, 1.04], transform=ax.transAxes, color=color, lw=3, clip_on=False)


@styled
def mel(spectrogram, title: str = "", seconds: float = 83_200 / 22_050) -> Plot:
    """A mel spectrogram (mel bands, frames) in 0...1, with low frequencies at the bottom."""
    fig = new_plot(5, 2.4)
    ax = fig.axes_grid()[0, 0]
    look: dict[str, Any] = dict(origin="lower", aspect="auto", cmap="magma", vmin=0, vmax=1)
    image = ax.imshow(picture(spectrogram), extent=(0, seconds, 0, 128), **look)
    ax.set(xlabel="time, s", ylabel="mel band", title=title)
    ax.grid(False)
    fig.colorbar(image, ax=ax, label="level (0 to 1 per clip)", pad=0.02)
    return fig


# -------------------------------------------------------------------- training


@styled
def loss_curves(
    history: pd.DataFrame, groups: Sequence[Sequence[str]] | None = None, title: str = ""
) -> Plot:
    """Curves of a training: a panel for each group of columns of ``history``, against ``epoch``.

    Without ``groups`` every column has its own panel.
    """
    import seaborn as sns

    groups = groups or [[column] for column in history.columns if column != "epoch"]
    columns = min(4, len(groups))
    rows = -(-len(groups) // columns)
    fig = new_plot(2.5 * columns, 1.9 * rows + 0.3)
    axes = fig.axes_grid(rows, columns).ravel()
    marker = "o" if len(history) < 12 else ""
    for ax, group in zip(axes, groups):
        for column, dashes, color in zip(group, ["-", "--", ":", "-."], [ACCENT, RUST, INK, QUIET]):
            look: dict[str, Any] = dict(
                linestyle=dashes, color=color, label=column, marker=marker, errorbar=None
            )
            sns.lineplot(x=history["epoch"], y=history[column], ax=ax, **look)
        ax.legend(fontsize="x-small")
        ax.set(xlabel="epoch", ylabel="")
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
    for ax in axes[len(groups) :]:
        ax.set_axis_off()
    fig.heading(title)
    return fig


def vaegan_curves(history: pd.DataFrame, title: str) -> Plot:
    """The history of a VAE-GAN: a panel of the two pixel errors, then a panel for each loss.

    The pixel errors are those of training and of validation.
    """
    errors = [column for column in ("pixels", "validation") if column in history]
    alone = [[c] for c in history.columns if c not in ("epoch", "seconds", *errors)]
    return loss_curves(history, [errors, *alone], title)


@styled
def adversarial_game(table: pd.DataFrame) -> Plot:
    """The loss and the answers of a discriminator, step by step.

    The columns of ``table`` are step, discriminator (the loss), and the mean answers D(x), D(x~)
    and D(x_p), as probabilities. Thin lines are single steps, thick ones means over 15 of
    them. Dashed lines mark what a discriminator gives that sees no difference. As two of the three
    kinds are painted, it does best to answer one third to each.
    """
    fig = new_plot(8.2, 2.9)
    left, right = fig.axes_grid(1, 2)[0]
    answers = {
        "D(x)": ("a picture", ACCENT, "-"),
        "D(x~)": ("its reconstruction", RUST, "--"),
        "D(x_p)": ("a face of nobody", INK, ":"),
    }
    curves = [(left, "discriminator", ("", ACCENT, "-"))]
    curves += [(right, column, look) for column, look in answers.items()]
    for ax, column, (name, color, dashes) in curves:
        smooth = table[column].rolling(15, center=True, min_periods=1).mean()
        ax.plot(table["step"], table[column], color=color, lw=0.5, alpha=0.25)
        ax.plot(table["step"], smooth, color=color, ls=dashes, lw=1.8, label=name)
    blind = np.log(3) + 2 * np.log(1.5)  # the loss of an answer of one third
    left.axhline(blind, color=QUIET, ls="--", lw=1)
    left.text(table["step"].iloc[-1], blind, "sees no difference", ha="right", va="bottom")
    left.set(xlabel="step", ylim=(0, None))
    left.set_title("loss of the discriminator", fontsize="small")
    right.axhline(1 / 3, color=QUIET, ls="--", lw=1)
    right.set(xlabel="step", ylim=(0, 1))
    right.set_title('"this is real", mean probability', fontsize="small")
    right.legend(fontsize="x-small", loc="upper right")
    return fig


@styled
def latent_scatter(points, labels: Sequence[str], title: str = "") -> Plot:
    """Latents (N, D) as points, one colour for each emotion.

    Where D is more than 2, the axes are the first two principal components.
    """
    points, emotions = np.asarray(points, dtype=np.float64), np.asarray(labels)
    names = ["first", "second"]
    if points.shape[1] > 2:
        points, shares = _principal_components(points)
        names = [f"principal component {i + 1} ({shares[i]:.0%} of variance)" for i in (0, 1)]
    fig = new_plot(5.2, 3.8)
    ax = fig.axes_grid()[0, 0]
    for name in [e for e in EMOTION_COLORS if e in emotions]:
        look: dict[str, Any] = dict(
            c=EMOTION_COLORS[name], marker=EMOTION_MARKERS[name], edgecolor="white"
        )
        x, y = points[emotions == name].T
        ax.scatter(x, y, s=22, alpha=0.8, lw=0.3, label=name, **look)
    ax.set(xlabel=names[0], ylabel=names[1], title=title)
    ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


def _principal_components(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first two principal components (N, 2) of points (N, D).

    Also returns the share of the variance (D,) of each component.
    """
    points = points - points.mean(0)
    _, spread, axes = np.linalg.svd(points, full_matrices=False)
    shares = spread**2 / np.maximum((spread**2).sum(), 1e-12)
    # The sign of a component is arbitrary. Its largest entry is made positive, so that a figure is
    # never mirrored.
    largest = axes[np.arange(len(axes)), np.abs(axes).argmax(1)]
    axes = axes * np.sign(largest)[:, None]
    return points @ axes[:2].T, shares


# -------------------------------------------------------------------- scores


def score_table(scores: Mapping[str, Mapping[str, Mapping]], column: str = "model") -> pd.DataFrame:
    """Scores {name: {score: {"value", "low", "high"}}} as a table.

    Its columns are ``column`` (the name), score, value, low and high.
    """
    rows = [
        {column: name, "score": score, **interval}
        for name, its_scores in scores.items()
        for score, interval in its_scores.items()
    ]
    return pd.DataFrame(rows)


@styled
def heat_map(
    table: pd.DataFrame,
    title: str = "",
    size: tuple[float, float] = (5.4, 3.8),
    number: str = ".0f",
    vmax: float | None = 100,
) -> Plot:
    """A table of numbers as coloured cells, named by the rows and columns of the table.

    The colours reach from 0 to ``vmax``, or to the largest number where that is None.
    """
    import seaborn as sns

    fig = new_plot(*size)
    ax = fig.axes_grid()[0, 0]
    look: dict[str, Any] = dict(cmap="Blues", vmin=0, vmax=vmax, cbar=False, linewidths=1)
    sns.heatmap(table, ax=ax, annot=True, fmt=number, **look)
    fig.heading(title)
    return fig


@styled
def confusion(matrix, labels: Sequence[str], title: str = "") -> Plot:
    """Counts or rates (K, K), whose rows are the truth, in per cent of each row."""
    import seaborn as sns

    matrix = np.asarray(matrix, dtype=np.float64)
    rates = 100 * matrix / np.maximum(matrix.sum(1, keepdims=True), 1e-12)
    fig = new_plot(0.52 * len(labels) + 1.6, 0.45 * len(labels) + 1.1)
    ax = fig.axes_grid()[0, 0]
    look: dict[str, Any] = dict(cmap="Blues", vmin=0, vmax=100, cbar=False, linewidths=1)
    sns.heatmap(rates, annot=True, fmt=".0f", xticklabels=labels, yticklabels=labels, ax=ax, **look)
    ax.set(xlabel="predicted, % of the truth", ylabel="truth", title=title)
    ax.tick_params(axis="x", rotation=40)
    ax.tick_params(axis="y", rotation=0)
    return fig


@styled
def accuracy_bars(
    table: pd.DataFrame,
    chance: float,
    title: str = "",
    label: str = "",
) -> Plot:
    """A ``score_table`` as bars with their intervals, and the chance line.

    The first column names the bars. Where there is a column ``score``, only clip accuracy is shown.
    ``label`` is written below the axis instead of the score's name.
    """
    if "score" in table:
        table = table.loc[table["score"] == "clip_accuracy"]
    names = list(table.iloc[:, 0])
    fig = new_plot(5.6, 0.5 * len(names) + 0.9)
    ax = fig.axes_grid()[0, 0]
    bars = zip(names, table["value"], table["low"], table["high"])
    for row, (name, value, low, high) in enumerate(bars):
        ax.barh(row, value, color=ACCENT if name == "can" else PALE, height=0.62)
        ax.plot([low, high], [row, row], color=INK, lw=1.4, marker="|", ms=7)
        weight = "bold" if name == "can" else None
        ax.text(max(high, value) + 0.015, row, f"{100 * value:.0f} %", va="center", weight=weight)
    ax.axvline(chance, color=INK, ls="--", lw=1)
    ax.text(chance + 0.005, -0.62, f"chance {100 * chance:.0f} %", fontsize="x-small", va="center")
    ax.set(yticks=range(len(names)), xlim=(0, 1.08), ylim=(len(names) - 0.5, -0.9), title=title)
    ax.set_yticklabels([MODEL_NAMES.get(name, name) for name in names])
    ax.set_xlabel(label or "clip accuracy, 95 % intervals over actors")
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.grid(False, axis="y")
    return fig


@styled
def point_panels(
    table: pd.DataFrame,
    label: str,
    chance: float | None = None,
    limits: tuple[float, float] | None = None,
    title: str = "",
) -> Plot:
    """Scores with intervals as points, in panels side by side.

    The columns of ``table`` are panel, x, group, value, low and high. Panels, values of x and
    groups keep the order of the table; the groups of one x stand side by side, and the last group
    is accented.
    """
    import seaborn as sns

    panels, groups = (list(dict.fromkeys(table[column])) for column in ("panel", "group"))
    widths = [max(2, table[table.panel == panel].x.nunique()) for panel in panels]
    fig = new_plot(1.3 + sum(widths) * max(0.42, 0.13 * len(groups)) + 0.35 * len(panels), 3.0)
    axes = fig.axes_grid(1, len(panels), sharey=True, width_ratios=widths)[0]
    colors = [*sns.color_palette([RUST, INK, QUIET, GREEN], len(groups) - 1), ACCENT]
    for ax, panel in zip(axes, panels):
        rows = table.loc[table.panel == panel]
        places = {x: place for place, x in enumerate(dict.fromkeys(rows.x))}
        for number, group in enumerate(groups):
            points = rows.loc[rows.group == group]
            sideways = 0.13 * (number - (len(groups) - 1) / 2)
            x = points.x.map(places).astype(float) + sideways
            ax.vlines(x, points.low, points.high, color=colors[number], lw=1.2)
            look: dict[str, Any] = dict(
                color=colors[number], ms=4.5, label=MODEL_NAMES.get(group, group)
            )
            ax.plot(x, points.value, "oDs^v"[number % 5], **look)
        slanted = dict(rotation=35, ha="right", rotation_mode="anchor")
        ax.set_xticks(list(places.values()), list(places), **slanted)
        ax.set_title(panel, fontsize="small")
        ax.set_xlim(-0.6, len(places) - 0.4)
        ax.grid(False, axis="x")
        if chance is not None:
            ax.axhline(chance, color=INK, ls="--", lw=1)
    axes[0].set(ylabel=label, ylim=limits)
    if len(groups) > 1:
        axes[-1].legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize="x-small")
    fig.heading(title)
    return fig


@styled
def score_rows(
    table: pd.DataFrame, label: str, chance: float, title: str = "", reference: str = ""
) -> Plot:
    """Scores with intervals, one below the other; columns name, value, low and high.

    Names may be long. A dotted line marks the value of the row called ``reference``, which is
    accented, and a dashed one marks chance.
    """
    fig = new_plot(7.4, 0.27 * len(table) + 0.9)
    ax = fig.axes_grid()[0, 0]
    rows = zip(table["name"], table["value"], table["low"], table["high"], strict=True)
    for place, (name, value, low, high) in enumerate(rows):
        is_reference = name == reference
        color = ACCENT if is_reference else INK
        ax.hlines(place, low, high, color=color, lw=1.6)
        ax.plot(value, place, "o", color=color, ms=5.5)
        ax.text(1.0, place, f"{100 * value:.0f} %", va="center", fontsize="x-small")
        if is_reference:
            ax.axvline(value, color=ACCENT, ls=":", lw=1)
    ax.axvline(chance, color=INK, ls="--", lw=1)
    ax.text(chance + 0.008, -0.75, f"chance {100 * chance:.0f} %", fontsize="x-small", va="center")
    ax.set_yticks(range(len(table)), list(table.name))
    ax.set(xlim=(0, 1.06), ylim=(len(table) - 0.4, -1.2), xlabel=label)
    ax.xaxis.set_major_formatter(PercentFormatter(1))
    ax.grid(False, axis="y")
    fig.heading(title)
    return fig


@styled
def reliability(table: pd.DataFrame, title: str = "") -> Plot:
    """Accuracy against confidence, a panel for each model.

    The columns of ``table`` are model, confidence, accuracy and count. On the dashed line a model
    is right as often as it is confident. The area of a dot is its number of answers.
    """
    models = list(dict.fromkeys(table.model))
    fig = new_plot(1.75 * len(models) + 0.5, 2.3)
    for ax, model in zip(fig.axes_grid(1, len(models), sharey=True)[0], models):
        bins = table[table.model == model]
        color = ACCENT if model == "can" else INK
        area = 4 + 140 * bins["count"] / bins["count"].sum()
        ax.plot([0, 1], [0, 1], color=QUIET, ls="--", lw=1)
        ax.plot(bins.confidence, bins.accuracy, color=color, lw=1)
        ax.scatter(bins.confidence, bins.accuracy, s=area, color=color)
        ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="confidence", aspect="equal")
        ax.set_title(MODEL_NAMES.get(model, model), fontsize="small")
    fig.axes[0].set_ylabel("accuracy")
    fig.heading(title)
    return fig


@styled
def probability_bars(before, after, labels: Sequence[str]) -> Plot:
    """Class probabilities (K,) of the face alone (hollow bars) and in context (filled bars)."""
    before, after = np.asarray(before, dtype=float), np.asarray(after, dtype=float)
    fig = new_plot(4.6, 0.34 * len(labels) + 0.9)
    ax = fig.axes_grid()[0, 0]
    rows = np.arange(len(labels))
    colors = [EMOTION_COLORS[emotion] for emotion in labels]
    hollow = dict(color="white", edgecolor=colors, lw=1.5)
    ax.barh(rows - 0.2, before, 0.36, label="before: face alone", **hollow)
    filled = dict(color=colors, edgecolor=colors, lw=1.5)
    ax.barh(rows + 0.2, after, 0.36, label="after: in context", **filled)
    ax.set(xlim=(0, 1), ylim=(len(labels) - 0.4, -0.6), xlabel="probability")
    ax.set_yticks(rows, labels)
    ax.grid(False, axis="y")
    for patch in ax.legend(loc="lower right", fontsize="x-small").get_patches():
        is_hollow = patch.get_facecolor()[:3] == (1, 1, 1)
        patch.set(edgecolor=INK, facecolor="white" if is_hollow else INK)
    return fig


# -------------------------------------------------------------------- context attention


@styled
def attention_map(weights, queries, keys, title: str = "") -> Plot:
    """Attention weights (Q, K), each row divided by its largest, in the order of queries and keys.

    The colours follow the square root of the weights, so that small ones can be seen. The axes
    count dimensions, and their labels say which query or key stands there.
    """
    queries, keys = np.asarray(queries), np.asarray(keys)
    fig = new_plot(5.4, 4.2)
    ax = fig.axes_grid()[0, 0]
    image = ax.imshow(np.asarray(weights), cmap="Blues", norm=PowerNorm(0.5, 0, 1), aspect="auto")
    for axis, numbers in ((ax.yaxis, queries), (ax.xaxis, keys)):
        places = np.linspace(0, len(numbers) - 1, 6).round().astype(int)
        axis.set_ticks(places, [f"{numbers[place]:.1f}" for place in places])
    ax.set(xlabel="key of the face, sorted", ylabel="query of the voice, sorted")
    ax.grid(False)
    fig.colorbar(image, ax=ax, label="weight / largest of the row", pad=0.02)
    fig.heading(title)
    return fig


@styled
def attention_function(
    queries,
    values,
    labels: Sequence[str] = (),
    bounds: tuple[float, float] | None = None,
    title: str = "",
) -> Plot:
    """The scalar function f_v that one face applies to every dimension of a voice.

    ``queries`` are (Q,), and ``values`` (Q,) or (B, Q); several rows are several faces, named by
    ``labels``. ``bounds`` are min u and max u, between which every output lies.
    """
    import seaborn as sns

    queries, values = np.asarray(queries), np.atleast_2d(np.asarray(values))
    fig = new_plot(5.4, 3.0)
    ax = fig.axes_grid()[0, 0]
    for row, outputs in enumerate(values):
        label = labels[row] if row < len(labels) else ""
        color = ACCENT if len(values) == 1 else sns.color_palette("viridis", len(values))[row]
        color = EMOTION_COLORS.get(label, color)
        ax.plot(queries, outputs, color=color, lw=1.8, label=label or None)
    for bound, name in zip(bounds or (), ("min u", "max u")):
        ax.axhline(bound, color=QUIET, ls="--", lw=1)
        ax.text(queries[0], bound, f" {name}", fontsize="x-small", va="bottom")
    ax.set(xlabel="query $q_i$ (from the voice)", ylabel="output $f_v(q_i)$", title=title)
    if len(labels):
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig


@styled
def attention_at(weights: pd.DataFrame, curve: pd.DataFrame) -> Plot:
    """For each query, the weights of one face's dimensions above, and a point of its f_v below.

    ``weights`` has the columns query, key, value and weight, a row for each query and dimension.
    The two columns of ``curve`` are query and output. Each query has a column of two panels.
    """
    queries = list(dict.fromkeys(weights["query"]))
    fig = new_plot(2.0 * len(queries) + 0.7, 3.4)
    axes = fig.axes_grid(2, len(queries), sharey="row")
    name = str(curve.columns[1])
    for (above, below), query in zip(axes.T, queries):
        dimensions = weights.loc[weights["query"] == query]
        output = (dimensions.weight * dimensions.value).sum()
        above.vlines(dimensions.key, 0, dimensions.weight, color=ACCENT, lw=1.2)
        above.set_title(f"query {query:.1f}", fontsize="small")
        # Small weights, of which there are many, show on an axis that follows the square root.
        above.set_yscale("function", functions=(np.sqrt, np.square))
        above.set(xlabel="key", ylim=(0, 1.02), yticks=[0, 0.01, 0.1, 0.5, 1])
        below.plot(curve["query"], curve[name], color=EMOTION_COLORS.get(name, INK), lw=1.8)
        below.plot(query, output, "o", color=INK, ms=6)
        below.set(xlabel=f"query; output {output:.2f}")
    axes[0, 0].set_ylabel("weight")
    axes[1, 0].set_ylabel("output $f_v$")
    return fig


@styled
def shift_bars(
    table: pd.DataFrame, value: str = "kl", label: str = "KL shift, nats", title: str = ""
) -> Plot:
    """One bar for each row; its columns are emotion, ``value`` and optionally low and high."""
    fig = new_plot(5.2, 2.6)
    ax = fig.axes_grid()[0, 0]
    colors = [EMOTION_COLORS[emotion] for emotion in table["emotion"]]
    ax.bar(table["emotion"], table[value], color=colors, width=0.7)
    if {"low", "high"} <= set(table.columns):
        # A white rim, because ink cannot be seen on a dark bar.
        ax.vlines(table["emotion"], table["low"], table["high"], color="white", lw=3.4)
        ax.vlines(table["emotion"], table["low"], table["high"], color=INK, lw=1.4)
    ax.axhline(0, color=INK, lw=0.8)
    ax.set(ylabel=label, xlabel="", title=title)
    ax.grid(False, axis="x")
    ax.tick_params(axis="x", rotation=30)
    return fig


@styled
def strength_curves(table: pd.DataFrame, label: str, title: str = "") -> Plot:
    """Curves against the context strength t, one for each emotion.

    The columns of ``table`` are strength and value, and optionally low, high and emotion.
    """
    fig = new_plot(5.2, 3.0)
    ax = fig.axes_grid()[0, 0]
    curves = table.groupby("emotion", sort=False) if "emotion" in table else [("", table)]
    for emotion, points in curves:
        color = EMOTION_COLORS.get(str(emotion), ACCENT)
        look: dict[str, Any] = dict(
            color=color, marker=EMOTION_MARKERS.get(str(emotion), "o"), ms=5, lw=1.8
        )
        ax.plot(points["strength"], points["value"], label=emotion or None, **look)
        if {"low", "high"} <= set(points.columns):
            band = dict(color=color, alpha=0.15, lw=0)
            ax.fill_between(points["strength"], points["low"], points["high"], **band)
    ax.set(xlabel="context strength t", ylabel=label, title=title)
    if "emotion" in table:
        ax.legend(loc="center left", bbox_to_anchor=(1, 0.5))
    return fig
