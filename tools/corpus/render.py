"""Render one actor with given face units, head pose, gaze and scene.

A picture of 224 x 224 pixels takes about 15 ms on one core.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from tools.corpus import raster, skin
from tools.corpus.actor import Actor, plan

CAMERA = 14.0  # distance in dm
FRAMINGS = {
    "clip": (0.275, 0.465),
    "crop": (0.385, 0.40),
}  # pixels of one dm as a fraction of the picture; height of the eyes in it


@dataclass(frozen=True)
class Scene:
    """Light and backdrop.

    Colours are linear light. Directions point from the face to the light, z to the camera.
    """

    key: tuple[float, float, float] = (0.45, 0.50, 0.74)
    key_colour: tuple[float, float, float] = (1.0, 0.95, 0.88)
    ambient: tuple[float, float, float] = (0.33, 0.34, 0.37)
    fill: float = 0.25
    backdrop: tuple[float, float, float] = (0.70, 0.71, 0.72)
    exposure: float = 1.0

    @staticmethod
    def draw(rng: np.random.Generator, stable: bool = True) -> "Scene":
        """A random scene.

        stable: one studio with slight variation from session to session; otherwise lights and
        backdrops of all kinds.
        """
        if stable:
            az, el, power, warm = (
                0.62 + rng.normal(0, 0.04),
                0.60 + rng.normal(0, 0.04),
                1.08 * np.exp(rng.normal(0, 0.03)),
                rng.normal(0, 0.008),
            )
            back = np.array([0.74, 0.75, 0.755]) + rng.normal(0, 0.006) + rng.normal(0, 0.003, 3)
            fill, amb = 0.26, 0.30 * np.exp(rng.normal(0, 0.03))
        else:
            az, el, power, warm = (
                rng.uniform(-1.0, 1.0),
                rng.uniform(0.1, 0.85),
                rng.uniform(0.75, 1.1),
                rng.normal(0, 0.05),
            )
            back = rng.uniform(0.15, 0.85) + rng.normal(0, 0.035, 3)
            fill, amb = rng.uniform(0.15, 0.45), rng.uniform(0.26, 0.46)
        d = np.array([np.sin(az) * np.cos(el), np.sin(el), np.cos(az) * np.cos(el)])
        colour = power * np.array([1 + warm, 0.96, 0.91 - warm])
        return Scene(
            tuple(d),
            tuple(colour),
            tuple(amb * np.array([0.96, 1.0, 1.06])),
            float(fill),
            tuple(np.clip(back, 0.05, 0.95)),
            1.0,
        )


@lru_cache(4)
def _buffers(size: int, half: int):
    s, q = 2 * size, half
    return (
        np.empty((s, s), np.float32),
        np.empty((s, s), np.int32),
        np.empty((s, s, 2), np.float32),
        *(np.empty((q, q), np.float32) for _ in range(5)),
        np.empty((size, size, 3), np.float32),
    )


@lru_cache(1)
def _table() -> np.ndarray:
    x = np.arange(4096) / 2560.0 * 1.15
    x = np.where(x < 0.6, x, 0.6 + 0.4 * np.tanh((x - 0.6) / 0.55))  # soft shoulder
    return (np.clip(x, 0, 1) ** (1 / 2.2) * 255 + 0.5).astype(np.uint8)


@lru_cache(32)
def _backdrop(scene: Scene, size: int) -> np.ndarray:
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    shade = 1.04 - 0.30 * np.hypot(x - 0.5 - 0.25 * scene.key[0], y - 0.42) ** 1.6
    return (np.array(scene.backdrop, np.float32) ** 2.2 * shade[..., None] ** 2.2 * 0.9).astype(
        np.float32
    )


def rotation(yaw: float, pitch: float, roll: float) -> np.ndarray:
    """(3,3) head rotation.

    Yaw turns to the viewer's right, pitch nods down, roll leans to the viewer's left.
    """
    cy, sy, cp, sp, cr, sr = (
        np.cos(yaw),
        np.sin(yaw),
        np.cos(pitch),
        np.sin(pitch),
        np.cos(roll),
        np.sin(roll),
    )
    turn = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    return (
        np.array([[cr, -sr, 0], [sr, cr, 0], [0, 0, 1]])
        @ turn
        @ np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    ).astype(np.float32)


def _unit_ids(units: Mapping[str, float]):
    known, ids, weights = plan()["units"], [], []
    for name, w in units.items():
        for full in (name,) if name in known else (name + "Left", name + "Right"):
            if full not in known:
                raise KeyError(f"no face unit {name!r}: known are {sorted(known)}")
            if w:
                ids.append(known[full])
                weights.append(w)
    return np.array(ids, np.int64), np.array(weights, np.float32)


def _sum(units, *names):
    return max(
        (units.get(n, 0.0) for name in names for n in (name, name + "Left", name + "Right")),
        default=0.0,
    )


# Long: the way of one picture from pose to pixels, in headed blocks.
def render(
    actor: Actor,
    units: Mapping[str, float],
    pose=(0.0, 0.0, 0.0),
    shift=(0.0, 0.0),
    gaze=(0.0, 0.0),
    scene: Scene = Scene(),
    size: int = 224,
    framing: str = "clip",
) -> np.ndarray:
    """A picture of an actor, (size, size, 3) uint8.

    units: face unit -> weight 0..1.2 (a name without a side moves both sides); pose: yaw, pitch,
    roll in rad; shift: fraction of the frame, right and down; gaze: rad to the viewer's right and
    up, 0 = into the camera; framing "clip" (head and shoulders) or "crop". Raises KeyError for an
    unknown face unit or framing.
    """
    p = plan()
    n = len(p["v"])
    v = actor.rest.copy()
    ids, weights = _unit_ids(units)
    raster.add_targets(v, p["index"], p["delta"], p["start"], ids, weights)
    normals = actor.rest_normals.copy()
    raster.normals(v[:n], actor.skin_tris, normals[:n])
    # head pose about the neck
    rot = rotation(*pose)
    pivot = np.array([0, 6.45, 0.35], np.float32)
    k = actor.neck[:, None]
    moved = (v - pivot) @ rot.T
    v = moved * k + (v - pivot) * (1 - k) + pivot
    normals = (normals @ rot.T) * k + normals * (1 - k)
    # camera: the neutral eyes' middle stays put, so half of a turn's swing is taken back
    scale, level = FRAMINGS[framing]
    scale *= size * 2
    eye = np.array([0, 7.28, 1.25], np.float32)
    swing = (rot @ (eye - pivot) + pivot - eye) * np.float32(0.6)
    q = v - eye
    f = CAMERA / (CAMERA - q[:, 2])
    xy = np.empty((len(v), 2), np.float32)
    xy[:, 0] = size * (1 + 2 * shift[0]) + (q[:, 0] - swing[0]) * f * scale
    xy[:, 1] = 2 * size * (level + shift[1]) - (q[:, 1] - swing[1]) * f * scale
    depth = np.ascontiguousarray(-q[:, 2], np.float32)
    # the eyeballs keep behind closing lids
    blink = min(_sum(units, "eyeBlink") + 0.4 * _sum(units, "eyeSquint"), 1.0)
    for i in p["eye_verts"]:
        depth[i] += np.float32(0.004 + 0.05 * blink)
    # grooves of this expression
    s = lambda *names: min(_sum(units, *names), 1.2)  # noqa: E731
    up, frown, sneer, smile, squint = (
        s("browInnerUp", "browOuterUp"),
        s("browDown"),
        s("noseSneer"),
        s("mouthSmile", "mouthUpperUp"),
        s("cheekSquint", "eyeSquint"),
    )
    age = actor.age
    depth_of = np.array(
        [
            (0.35 + 0.65 * age) * up + 0.5 * age**1.3,
            (0.6 + 0.4 * age) * max(frown, 0.35 * s("browInnerUp") * 0.6) + 0.25 * age**1.3,
            (0.40 + 0.45 * age) * max(smile, sneer) + 0.08 + 0.45 * age**1.3,
            (0.35 + 0.65 * age) * squint * max(smile, 0.3) + 0.45 * age**1.3,
            0.9 * sneer,
            0.8 * s("mouthShrugLower"),
            0.35 * squint + 0.55 * age**1.2,
        ],
        np.float32,
    )
    height = actor.pore - np.tensordot(depth_of * np.float32(0.30), skin.grooves(), 1)
    half = (2 * size) // 4
    zbuf, tid, wgt, low, near, wide, dark, tmp, frame = _buffers(size, half)
    raster.rasterise(
        xy,
        depth,
        actor.tri,
        actor.mat,
        actor.att,
        actor.strands,
        actor.coarse,
        2 * size,
        zbuf,
        tid,
        wgt,
    )
    raster.mend(zbuf, tid, wgt)
    key = np.array(scene.key, np.float32)
    raster.shadows(zbuf, low, near, wide, dark, tmp, key, np.float32(scale), np.float32(1.9))
    fill = np.array([-0.75 * np.sign(key[0]), 0.1, 0.65])
    mid = key + [0, 0, 1]
    light = np.array(
        [
            key,
            scene.key_colour,
            scene.ambient,
            fill / np.linalg.norm(fill),
            np.array([0.92, 0.96, 1.0]) * scene.fill,
            mid / np.linalg.norm(mid),
        ],
        np.float32,
    )
    light[[1, 2, 4]] *= scene.exposure
    eyes = actor.eyes.copy()
    g = np.array(
        [
            np.sin(gaze[0] - 0.55 * pose[0]),
            np.sin(gaze[1] + 0.55 * pose[1]) - 0.30 * _sum(units, "eyeLookDown"),
            1.0,
        ]
    )
    eyes[:, 3:6] = g / np.linalg.norm(g)
    raster.shade(
        zbuf,
        tid,
        wgt,
        actor.tri,
        actor.mat,
        np.ascontiguousarray(normals, np.float32),
        actor.canonical,
        actor.att,
        actor.tex,
        height,
        skin.lips(),
        near,
        wide,
        dark,
        actor.strands,
        light,
        actor.look,
        eyes,
        rot,
        _backdrop(scene, size),
        frame,
    )
    out = np.empty((size, size, 3), np.uint8)
    raster.to_bytes(frame, _table(), out)
    return out
