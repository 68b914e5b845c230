"""How well a network draws people whom it has never seen, beside as many principal components."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from lightning_fabric import Fabric
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from cmlib.metrics import actor_interval, mean_interval
from cmlib.models import VaeGan
from cmlib.models.vaegan import INFERENCE_BATCH
from cmlib.training.batches import Pictures
from cmlib.training.loop import launch

from .components import Principal
from .data import Photographs, smaller
from .kept import Witnesses, accuracy_kept, right_person, share_kept

PROBE_C = 1e-2  # inverse strength of the probe's regularisation
# Rows and columns of a band above the forehead and of both cheeks, as shares of the picture.
PLACES = {
    "hair": ((4 / 128, 20 / 128), (44 / 128, 84 / 128)),
    "skin": ((64 / 128, 84 / 128), (36 / 128, 92 / 128)),
}


class Reconstruction(NamedTuple):
    """Measures of N pictures at the size of components (64 x 64, or their own size if less)."""

    error: np.ndarray  # (N,), mean squared error
    real: np.ndarray  # (N,), energy of gradients of the picture
    drawn: np.ndarray  # (N,), and of its reconstruction
    colours: dict[str, np.ndarray]  # place: (N, 2, 3), its mean colour in both


def batches_of(
    model: VaeGan, pictures: Pictures, rows: np.ndarray, fabric: Fabric
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """(pictures, latent means, reconstructions in 0...1) of the rows, in float32 on the CPU."""
    was_training = model.training
    model.eval()
    for start in range(0, len(rows), INFERENCE_BATCH):
        x = pictures.batch(rows[start : start + INFERENCE_BATCH])
        with torch.no_grad(), fabric.autocast():
            mu = model.encoder(x.to(fabric.device, memory_format=torch.channels_last)).mu
            drawn = model.decoder(mu)
        yield x, mu.float().cpu(), drawn.float().clamp(0, 1).cpu()
    model.train(was_training)


def encode(model: VaeGan, pictures: Pictures, rows: np.ndarray, fabric: Fabric) -> Tensor:
    """Latent means (N, D)."""
    return torch.cat([mu for _, mu, _ in batches_of(model, pictures, rows, fabric)])


def gradient_energy(x: Tensor) -> np.ndarray:
    """Mean square of the differences of neighbouring pixels, (B, C, S, S) -> (B,)."""
    across = x.diff(dim=-1).square().mean((1, 2, 3))
    down = x.diff(dim=-2).square().mean((1, 2, 3))
    return (across + down).numpy()


def reconstruction(
    model: VaeGan, pictures: Pictures, rows: np.ndarray, fabric: Fabric
) -> Reconstruction:
    """Errors, sharpness and colours of the reconstructions from the latent means."""
    errors, real_energy, drawn_energy = [], [], []
    colours: dict[str, list[np.ndarray]] = {name: [] for name in PLACES}
    for x, _, drawn in batches_of(model, pictures, rows, fabric):
        small, small_drawn = smaller(x), smaller(drawn)
        errors.append((small_drawn - small).square().mean((1, 2, 3)).numpy())
        real_energy.append(gradient_energy(small))
        drawn_energy.append(gradient_energy(small_drawn))
        for name in PLACES:
            both = [mean_colour(small, name), mean_colour(small_drawn, name)]
            colours[name].append(np.stack(both, 1))
    return Reconstruction(
        np.concatenate(errors),
        np.concatenate(real_energy),
        np.concatenate(drawn_energy),
        {name: np.concatenate(values) for name, values in colours.items()},
    )


def mean_colour(x: Tensor, place: str) -> np.ndarray:
    """The mean colour of a place of pictures (B, 3, S, S), (B, 3)."""
    (top, bottom), (left, right) = PLACES[place]
    size = x.shape[-1]
    rows = slice(round(top * size), round(bottom * size))
    columns = slice(round(left * size), round(right * size))
    return x[:, :, rows, columns].mean((2, 3)).numpy()


def score_set(
    model: VaeGan,
    base: Principal,
    pictures: Pictures,
    rows: np.ndarray,
    people: np.ndarray,
    fabric: Fabric,
) -> dict:
    """The measures of one set of strangers, with 95 % intervals over people (N,)."""
    measures = reconstruction(model, pictures, rows, fabric)
    linear = base.first(model.config["latent"])
    errors, gradients = [], []
    for start in range(0, len(rows), INFERENCE_BATCH):
        small = smaller(pictures.batch(rows[start : start + INFERENCE_BATCH]))
        projected = linear.project(small)
        errors.append((projected - small).square().mean((1, 2, 3)).numpy())
        gradients.append(gradient_energy(projected))
    error, gradient = np.concatenate(errors), np.concatenate(gradients)
    return {
        "pictures": len(rows),
        "people": len(np.unique(people)),
        "mse": mean_interval(measures.error, people),
        "components_mse": mean_interval(error, people),
        "mse_over_components": ratio_interval(measures.error, error, people),
        "gradients_kept": ratio_interval(measures.drawn, measures.real, people),
        "components_gradients_kept": ratio_interval(gradient, measures.real, people),
        "colours": {name: compare_colours(values) for name, values in measures.colours.items()},
    }


def ratio_interval(above: np.ndarray, below: np.ndarray, people: np.ndarray) -> dict[str, float]:
    """The ratio of two sums over pictures, with its interval over people; (N,) each."""
    return actor_interval(lambda rows: above[rows].sum() / below[rows].sum(), people)


def compare_colours(colours: np.ndarray) -> dict:
    """How well mean colours (N, 2, 3), of pictures and reconstructions, agree."""
    real, drawn = colours[:, 0], colours[:, 1]
    distance = np.linalg.norm(real - drawn, axis=1)
    return {
        "mean_distance": float(distance.mean()),
        "worst_distance": float(distance.max()),
        "correlation_rgb": [float(np.corrcoef(real[:, c], drawn[:, c])[0, 1]) for c in range(3)],
    }


def probe(model: VaeGan, base: Principal, photographs: Photographs, fabric: Fabric) -> dict:
    """Accuracy of logistic regression: emotions of performers from latents and components.

    Learnt on those who train, and asked of those for test; with intervals over people.
    """
    table, pictures = photographs.table, photographs.pictures
    train, held_out = (photographs.rows("performers", part) for part in ("train", "test"))
    train = train[table.label.to_numpy()[train] >= 0]
    rows = np.concatenate([train, held_out])
    linear = base.first(model.config["latent"])
    small = torch.cat([smaller(x) for x, _, _ in batches_of(model, pictures, rows, fabric)])
    centred = small.flatten(1) - linear.mean
    features = {
        "latents": encode(model, pictures, rows, fabric).numpy(),
        "components": (centred @ linear.components.T / linear.deviation).numpy(),
    }
    labels = table.label.to_numpy()[rows]
    people = table.person.to_numpy()[held_out]
    result = {}
    for name, values in features.items():
        classifier = make_pipeline(
            StandardScaler(), LogisticRegression(C=PROBE_C, max_iter=500)
        ).fit(values[: len(train)], labels[: len(train)])
        right = classifier.predict(values[len(train) :]) == labels[len(train) :]
        result[name] = mean_interval(right.astype(float), people)
    return result


def expression(
    model: VaeGan, photographs: Photographs, witnesses: Witnesses, fabric: Fabric
) -> dict:
    """What judges read in the reconstructions of performers for test, beside the real pictures.

    The accuracy of each recogniser, and the share of observers who name the emotion meant.
    """
    table = photographs.table
    rows = photographs.rows("performers", "test")
    real, drawn = drawn_pictures(model, photographs.pictures, rows, fabric)
    emotions = table.emotion.to_numpy(str)[rows]
    people = table.person.to_numpy()[rows]
    report = {
        name: accuracy_kept(judge, real, drawn, emotions, people)
        for name, judge in witnesses.recognisers.items()
    }
    if witnesses.observers:
        report["observers"] = share_kept(witnesses.observers, real, drawn, emotions, people)
    return report


def drawn_pictures(
    model: VaeGan, pictures: Pictures, rows: np.ndarray, fabric: Fabric
) -> tuple[Tensor, Tensor]:
    """The pictures of the rows and their reconstructions, (N, 3, S, S) each."""
    parts = [(x, drawn) for x, _, drawn in batches_of(model, pictures, rows, fabric)]
    return torch.cat([x for x, _ in parts]), torch.cat([drawn for _, drawn in parts])


def evaluate(
    model: VaeGan,
    base: Principal,
    photographs: Photographs,
    strangers: dict[str, tuple[Pictures, np.ndarray]],
    witnesses: Witnesses = Witnesses(),  # noqa: B008 (frozen)
) -> dict:
    """Every measure: of people who validate or are for test, and of sets never trained on.

    ``strangers``: the pictures of each set, and the person of each picture. ``witnesses`` are the
    judges of the expression and of the person; those that are missing leave a gap.
    """
    fabric = launch()
    model = model.to(fabric.device)
    sets, identity = {}, {}
    for name, part in (("celeba", "val"), ("performers", "val"), ("performers", "test")):
        rows = photographs.rows(name, part)
        people = photographs.table.person.to_numpy()[rows]
        key = "performers_test" if part == "test" else name
        sets[key] = score_set(model, base, photographs.pictures, rows, people, fabric)
    for name, (pictures, people) in strangers.items():
        rows = np.arange(len(pictures))
        sets[name] = score_set(model, base, pictures, rows, people, fabric)
        if witnesses.identity:
            real, drawn = drawn_pictures(model, pictures, rows, fabric)
            identity[name] = right_person(witnesses.identity, real, drawn, people)
    return {
        "reconstruction": sets,
        "expression": expression(model, photographs, witnesses, fabric),
        "identity": identity,
        "probe": probe(model, base, photographs, fabric),
        "missing": list(witnesses.missing),
    }
