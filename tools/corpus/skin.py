"""Painted maps of one face, seen from the front of the undeformed head.

The maps hold colour with brows and beard, grooves, pores and lips.
"""

from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter

from tools.corpus.assets import GROUPS, head
from tools.corpus.raster import rasterise, strokes

X_LEFT, X_RIGHT, Y_LOW, Y_TOP, TEXELS = -1.05, 1.05, 5.85, 8.55, 200.0  # dm, texels a dm
W, H = int((X_RIGHT - X_LEFT) * TEXELS), int((Y_TOP - Y_LOW) * TEXELS)
GX, GY = np.meshgrid(
    np.linspace(X_LEFT, X_RIGHT, W, dtype=np.float32),
    np.linspace(Y_TOP, Y_LOW, H, dtype=np.float32),
)
AX = np.abs(GX)
GROOVES = (
    "forehead",
    "glabella",
    "nasolabial",
    "crow",
    "nose",
    "chin",
    "under",
)  # order of the groove maps


def linear(srgb) -> np.ndarray:
    """Display colour 0..1 to linear light (power 2.2)."""
    return np.asarray(srgb, np.float32) ** np.float32(2.2)


def noise(rng: np.random.Generator, shape, sigma) -> np.ndarray:
    """Smooth periodic noise of unit deviation."""
    n = gaussian_filter(rng.standard_normal(shape).astype(np.float32), sigma, mode="wrap")
    return n / n.std()


def step(x, low, high):
    """Smooth step from 0 at low to 1 at high."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def blob(x, y, sx, sy):
    """Gaussian spots at (±x, y)."""
    return np.exp(-(((AX - abs(x)) / sx) ** 2) / 2 - ((GY - y) / sy) ** 2 / 2)


def _line(points, sigma):
    best = np.full(GX.shape, 9.0, np.float32)
    for (x0, y0), (x1, y1) in zip(points[:-1], points[1:]):
        dx, dy = x1 - x0, y1 - y0
        t = np.clip(((AX - x0) * dx + (GY - y0) * dy) / (dx * dx + dy * dy), 0, 1)
        best = np.minimum(best, (AX - x0 - t * dx) ** 2 + (GY - y0 - t * dy) ** 2)
    return np.exp(-best / (2 * sigma**2))


@lru_cache(1)
def grooves() -> np.ndarray:
    """(7,H,W) soft lines that deepen with expressions and age, in the order of GROOVES."""
    wob = noise(np.random.default_rng(1), (H, W), 16)
    fore = sum(
        np.exp(-(((GY + 0.035 * np.cos(GX * 5) + 0.010 * wob - y) / 0.013) ** 2) / 2)
        for y in (7.66, 7.74, 7.82)
    )
    fore = fore * np.exp(-((GX / 0.40) ** 4))
    glabella = np.exp(-(((AX + 0.15 * (GY - 7.5) - 0.05) / 0.013) ** 2) / 2) * np.exp(
        -(((GY - 7.49) / 0.085) ** 4)
    )
    naso = _line([(0.165, 6.985), (0.25, 6.92), (0.33, 6.80), (0.36, 6.68)], 0.021)
    crow = sum(_line([(0.52, 7.27 + s * 0.02), (0.64, 7.27 + s * 0.09)], 0.008) for s in (-1, 0, 1))
    nose = sum(
        np.exp(-(((GY + 0.25 * AX - y) / 0.010) ** 2) / 2) for y in (7.27, 7.33, 7.39)
    ) * np.exp(-((GX / 0.11) ** 4))
    chin = _line([(0.0, 6.435), (0.10, 6.43), (0.16, 6.40)], 0.016)
    under = _line([(0.20, 7.17), (0.30, 7.145), (0.42, 7.17)], 0.010)
    return np.clip(np.stack([fore, glabella, naso, crow, nose, chin, under]), 0, 1).astype(
        np.float32
    )


@lru_cache(1)
def lips() -> np.ndarray:
    """(H,W) 0..1: the lips, carried from the mesh's mask picture to the front map."""
    h = head()
    v, uv, tri = h["v"], h["uv"], h["tri"][h["group"] == GROUPS.index("body")]
    tri = tri[v[tri, 2].min(1) > 1.2]
    xy = np.stack([(v[:, 0] - X_LEFT) * TEXELS, (Y_TOP - v[:, 1]) * TEXELS], 1).astype(np.float32)
    n = max(H, W)
    z, t, w = (
        np.empty((n, n), np.float32),
        np.empty((n, n), np.int32),
        np.empty((n, n, 2), np.float32),
    )
    rasterise(
        xy,
        -v[:, 2],
        tri,
        np.zeros(len(tri), np.uint8),
        np.zeros((len(v), 3), np.float32),
        np.zeros((2, 8), np.float32),
        np.float32(0),
        n,
        z,
        t,
        w,
    )
    i, j = np.nonzero(t >= 0)
    bary = np.stack([w[i, j, 0], w[i, j, 1], 1 - w[i, j].sum(1)], 1)
    p = (uv[tri[t[i, j]]] * bary[..., None]).sum(1)
    out = np.zeros((n, n), np.float32)
    mask = h["mask_lips"].astype(np.float32) / 255
    out[i, j] = mask[
        np.clip(((1 - p[:, 1]) * 1023).astype(int), 0, 1023),
        np.clip((p[:, 0] * 1023).astype(int), 0, 1023),
    ]
    return np.ascontiguousarray(gaussian_filter(out, 1.0)[:H, :W])


def brows(rng, female: bool, thick: float, arch: float, drop: float) -> np.ndarray:
    """(H,W) opacity of the brows.

    A soft body with hairs that fan from upright (inner end) to lying (outer end).
    """
    im = np.zeros((H, W), np.float32)
    paths, sigma, alpha = [], [], []
    half = (0.024 if female else 0.036) * thick
    n = int((170 if female else 200) * thick)
    for side in (-1, 1):
        u = rng.beta(1.05, 1.25, n)
        centre = (
            7.487
            + 0.036 * np.sin(np.pi / 2 * np.minimum(u / 0.62, 1))
            - np.where(u > 0.62, (0.075 + drop) * (np.maximum(u - 0.62, 0) / 0.38) ** 1.4, 0)
        )
        centre = centre + arch * np.sin(np.pi * u)
        width = (
            half
            * np.where(u < 0.25, 0.35 + 0.65 * u / 0.25, 1)
            * (1 - 0.72 * np.clip((u - 0.5) / 0.5, 0, 1))
        )
        x, y = 0.125 + 0.43 * u, centre + rng.uniform(-1, 1, n) * width * 0.8
        lean = np.deg2rad(62 - 75 * u + rng.normal(0, 9, n))
        length = 0.050 * (1 - 0.35 * u)
        paths.append(
            np.stack(
                [
                    (side * x - X_LEFT),
                    Y_TOP - y,
                    side * (x + length * np.cos(lean)) - X_LEFT,
                    Y_TOP - y - length * np.sin(lean) * 0.6,
                ],
                1,
            )
            * TEXELS
        )
        sigma.append(np.full(n, 0.0055 * TEXELS))
        alpha.append(np.full(n, 0.75))
    strokes(
        im,
        np.concatenate(paths).astype(np.float32),
        np.concatenate(sigma).astype(np.float32),
        np.concatenate(alpha).astype(np.float32),
    )
    return np.clip(0.85 * im + 0.65 * gaussian_filter(im, 2.2), 0, 0.95)


def beard(rng, kind: str) -> np.ndarray:
    """(H,W) opacity of a beard: stubble, goatee, moustache, short, full."""
    ragged = 0.012 * noise(rng, (H, W), 5) + 0.006 * noise(rng, (H, W), 1.5)
    cheek = np.interp(
        AX, [0.0, 0.22, 0.36, 0.60, 0.70, 1.0], [6.84, 6.80, 6.78, 6.93, 7.03, 7.06]
    ).astype(np.float32)
    full = step(cheek + ragged - GY, -0.06, 0.10) * step(GY, 5.95, 6.12)
    mouth = np.sqrt((GX / 0.275) ** 2 + ((GY - 6.60) / 0.105) ** 2)
    full = full * step(mouth + ragged, 0.85, 1.1)
    patch = np.exp(-((GX / 0.055) ** 4)) * np.exp(-(((GY - 6.47) / 0.04) ** 4))
    over = np.interp(AX, [0, 0.04, 0.28, 0.33], [6.765, 6.775, 6.70, 6.66])
    moustache = np.exp(-((GX / 0.29) ** 8)) * np.exp(
        -(((GY - over + ragged * 0.3) / (0.064 - 0.05 * AX)) ** 4)
    )
    chin = step(0.30 + ragged - np.hypot(GX, (GY - 6.30) * 1.15), 0, 0.09) * step(
        mouth + ragged, 0.85, 1.1
    )
    b = {
        "stubble": 0.38 * np.maximum(full, moustache),
        "goatee": 0.9 * np.maximum(np.maximum(moustache, chin), patch),
        "moustache": 0.92 * moustache,
        "short": 0.78 * np.maximum(np.maximum(full, moustache), patch),
        "full": 0.95 * np.maximum(np.maximum(full, moustache), patch),
    }[kind]
    im = np.zeros((H, W), np.float32)
    n = 5000
    x, y = rng.uniform(0, W, n), rng.uniform(H * 0.4, H, n)
    angle, length = rng.normal(0, 0.35, n) + 0.5 * (x / W - 0.5), rng.uniform(4, 9, n)
    strokes(
        im,
        np.stack([x, y, x + np.sin(angle) * length, y + np.cos(angle) * length], 1).astype(
            np.float32
        ),
        np.full(n, 0.8, np.float32),
        rng.uniform(0.4, 1, n).astype(np.float32),
    )
    return np.clip(b * (0.70 + 0.42 * im), 0, 0.95)


def paint(
    rng,
    skin,
    hair,
    brow_look,
    melanin: float,
    age: float,
    female: bool,
    beard_kind: str,
    makeup: float,
):
    """Colour map (H,W,3) linear, pore height (H,W)."""
    broad, middle, fine = noise(rng, (H, W), 22), noise(rng, (H, W), 5), noise(rng, (H, W), 1.0)
    red = (
        0.50 * blob(0.40, 6.95, 0.15, 0.13)
        + 0.40 * blob(0, 7.00, 0.08, 0.10)
        + 0.18 * blob(0, 6.28, 0.16, 0.10)
        + 0.10 * blob(0, 7.75, 0.4, 0.15)
    )
    red = red * rng.uniform(0.5, 1.0) * (1 + 0.35 * makeup) + 0.06 * broad
    dark = (0.10 + 0.22 * age) * blob(0.30, 7.165, 0.12, 0.040) + (0.10 + 0.15 * makeup) * blob(
        0.31, 7.37, 0.14, 0.04
    )
    tone = np.exp(0.022 * broad + 0.016 * middle + 0.020 * fine)
    tex = skin * tone[..., None]
    tex = (
        tex
        * np.stack([1 - 0.02 * red, 1 - 0.17 * red, 1 - 0.15 * red], -1)
        * (1 - 0.6 * dark)[..., None]
    )
    if melanin < 0.35 and rng.random() < 0.25:  # freckles
        spots = (noise(rng, (H, W), 1.3) > 1.6) * (
            blob(0.3, 7.0, 0.25, 0.15) + blob(0, 7.05, 0.15, 0.12)
        )
        tex = tex * (
            1
            - gaussian_filter(np.clip(spots, 0, 0.5), 0.7)[..., None] * np.array([0.22, 0.36, 0.45])
        )
    for _ in range(rng.integers(0, 3)):  # moles
        x, y = rng.uniform(-0.5, 0.5), rng.uniform(6.4, 7.2)
        tex = tex * (1 - 0.3 * np.exp(-(((GX - x) ** 2 + (GY - y) ** 2) / 0.012**2) / 2))[..., None]
    for _ in range(int(7 * age * rng.random())):  # age spots
        x, y = rng.uniform(-0.6, 0.6), rng.uniform(6.6, 8.0)
        tex = (
            tex
            * (1 - 0.10 * np.exp(-(((GX - x) / 0.04) ** 2 + ((GY - y) / 0.03) ** 2) / 2))[..., None]
        )
    brow_colour = hair * 0.45 + 0.005
    if beard_kind:
        b = beard(rng, beard_kind)[..., None]
        colour = (
            hair * 0.8 + 0.010
            if beard_kind != "stubble"
            else skin * np.array([0.34, 0.36, 0.40]) + hair * 0.1
        )
        tex = tex * (1 - b) + colour * b
    b = brows(rng, female, **brow_look)[..., None]
    tex = tex * (1 - b) + brow_colour * b
    pore = 0.010 * noise(rng, (H, W), 0.9) + 0.010 * noise(rng, (H, W), 2.0) * (0.6 + age)
    return np.ascontiguousarray(tex, np.float32), pore.astype(np.float32)
