"""One synthetic person: shape, skin, hair, clothes, and what the renderer needs of them.

`Actor(number)`: numbers 1..24 are the cast (even numbers female, odd male, as in RAVDESS). They are
written down in CAST, so that ages, skin tones, hair and beards are spread evenly. Numbers from 1000
on are the crowd, drawn at random. Everything follows from (number, seed) and is computed once.
"""

from functools import lru_cache

import numpy as np
from scipy.ndimage import gaussian_filter

from tools.corpus import raster, skin
from tools.corpus.assets import GROUPS, head, targets
from tools.corpus.skin import linear, noise, step

HAIR = {
    "black": (0.085, 0.075, 0.07),
    "dark": (0.17, 0.115, 0.085),
    "brown": (0.29, 0.19, 0.12),
    "light": (0.46, 0.33, 0.20),
    "blond": (0.68, 0.54, 0.34),
    "red": (0.46, 0.20, 0.09),
    "grey": (0.52, 0.51, 0.50),
    "white": (0.74, 0.73, 0.71),
}
IRIS = {
    "dark": (0.20, 0.12, 0.07),
    "brown": (0.34, 0.21, 0.11),
    "hazel": (0.40, 0.34, 0.17),
    "blue": (0.32, 0.45, 0.58),
    "grey": (0.42, 0.47, 0.49),
    "green": (0.34, 0.43, 0.27),
}
TONES = linear(
    [
        (0.90, 0.76, 0.69),
        (0.85, 0.69, 0.60),
        (0.73, 0.56, 0.45),
        (0.54, 0.39, 0.305),
        (0.37, 0.265, 0.21),
    ]
)
# number: race mix (african, asian, caucasian), age 0..1, melanin 0..1, hair style, hair colour,
# iris, beard, glasses, garment
CAST = {
    1: ((0.0, 0.0, 1.0), 0.15, 0.18, "short", "brown", "blue", "", 0, "crew"),
    2: ((0.0, 0.1, 0.9), 0.05, 0.10, "long", "blond", "blue", "", 0, "vneck"),
    3: ((0.9, 0.0, 0.1), 0.20, 0.88, "buzz", "black", "dark", "goatee", 0, "jacket"),
    4: ((0.1, 0.9, 0.0), 0.05, 0.30, "bangs", "black", "dark", "", 0, "turtle"),
    5: ((0.2, 0.3, 0.5), 0.30, 0.52, "side", "black", "brown", "stubble", 0, "collar"),
    6: ((0.0, 0.2, 0.8), 0.45, 0.16, "bob", "red", "green", "", 1, "crew"),
    7: ((0.1, 0.0, 0.9), 0.70, 0.14, "receding", "grey", "grey", "", 1, "jacket"),
    8: ((0.9, 0.0, 0.1), 0.10, 0.82, "afro", "black", "dark", "", 0, "vneck"),
    9: ((0.0, 0.95, 0.05), 0.10, 0.32, "side", "black", "dark", "", 0, "crew"),
    10: ((0.1, 0.1, 0.8), 0.20, 0.26, "long", "dark", "brown", "", 0, "collar"),
    11: ((0.0, 0.0, 1.0), 0.35, 0.20, "medium", "light", "hazel", "full", 0, "crew"),
    12: ((0.0, 0.05, 0.95), 0.75, 0.12, "bob", "grey", "blue", "", 0, "jacket"),
    13: ((0.7, 0.1, 0.2), 0.45, 0.72, "bald", "black", "dark", "short", 0, "turtle"),
    14: ((0.3, 0.3, 0.4), 0.10, 0.50, "long", "dark", "dark", "", 0, "crew"),
    15: ((0.0, 0.1, 0.9), 0.10, 0.08, "curly", "red", "green", "", 0, "collar"),
    16: ((0.7, 0.0, 0.3), 0.15, 0.68, "bun", "black", "brown", "", 0, "turtle"),
    17: ((0.1, 0.1, 0.8), 0.50, 0.34, "short", "dark", "brown", "moustache", 0, "jacket"),
    18: ((0.0, 0.9, 0.1), 0.35, 0.26, "tied", "black", "dark", "", 1, "jacket"),
    19: ((0.1, 0.0, 0.9), 0.05, 0.22, "medium", "blond", "blue", "", 0, "vneck"),
    20: ((0.1, 0.0, 0.9), 0.15, 0.22, "tied", "brown", "hazel", "", 0, "yoke"),
    21: ((0.1, 0.8, 0.1), 0.60, 0.40, "short", "grey", "dark", "", 1, "collar"),
    22: ((0.1, 0.2, 0.7), 0.25, 0.30, "bangs", "light", "brown", "", 0, "vneck"),
    23: ((0.8, 0.0, 0.2), 0.25, 0.76, "curly", "black", "dark", "stubble", 0, "yoke"),
    24: ((0.3, 0.1, 0.6), 0.55, 0.42, "pixie", "dark", "brown", "", 0, "jacket"),
}
CLOTHS = linear(
    [
        (0.16, 0.18, 0.24),
        (0.22, 0.22, 0.23),
        (0.30, 0.16, 0.18),
        (0.17, 0.27, 0.26),
        (0.36, 0.34, 0.32),
        (0.25, 0.22, 0.33),
        (0.12, 0.12, 0.13),
        (0.34, 0.28, 0.21),
    ]
)
LIGHT_CLOTHS = linear(
    [(0.80, 0.80, 0.80), (0.62, 0.70, 0.80), (0.72, 0.66, 0.60), (0.55, 0.58, 0.60)]
)
OPPOSITE = {
    "incr": "decr",
    "up": "down",
    "in": "out",
    "forward": "backward",
    "convex": "concave",
    "compress": "uncompress",
}
HIDES_EARS = ("long", "bob", "bangs", "afro")
PARTS = {
    "nose": 0.24,
    "mouth": 0.20,
    "chin": 0.22,
    "cheek": 0.20,
    "forehead": 0.20,
    "eyes": 0.14,
    "eyebrows": 0.12,
    "head": 0.10,
    "ears": 0.20,
}


@lru_cache(1)
def plan():
    """What all heads share: triangles, materials, attributes of the vertices, edges of parts."""
    h = head()
    v, tri, group = h["v"], h["tri"], h["group"]
    body = GROUPS.index("body")
    material = np.array(
        [
            raster.SKIN,
            raster.EYE,
            raster.EYE,
            raster.TEETH,
            raster.TEETH,
            raster.TONGUE,
            raster.LASH,
            raster.LASH,
        ],
        np.uint8,
    )[group]
    keep = np.abs(v[tri, 0]).min(1) < 2.5
    uv = np.clip((h["uv"] * [1, -1] + [0, 1]) * 1023, 0, 1023).astype(int)
    inner = np.where(v[:, 2] > 0.5, h["mask_inside_mouth"][uv[:, 1], uv[:, 0]] / 255.0, 0)
    of_body = np.zeros(len(v), bool)
    of_body[np.unique(tri[group == body])] = True
    ear = (h["mask_ears"][uv[:, 1], uv[:, 0]] > 60) & (np.abs(v[:, 0]) > 0.62) | (
        np.abs(v[:, 0]) > 0.70
    ) & (v[:, 1] > 6.80) & (v[:, 1] < 7.50) & (v[:, 2] > -0.05) & (v[:, 2] < 0.70)
    eyes = [v[np.unique(tri[group == GROUPS.index(f"helper-{s}-eye")])] for s in "rl"]
    names = [n for n in targets() if n.startswith("arkit/")]
    index, delta, start = [], [], [0]
    for n in names:
        i, d = targets()[n]
        index.append(i)
        delta.append(d)
        start.append(start[-1] + len(i))
    return dict(
        v=v,
        tri=tri[keep],
        material=material[keep],
        group=group[keep],
        body=of_body,
        ear=ear & of_body,
        inner=(inner * of_body).astype(np.float32),
        eye_centre=np.array([(p.min(0) + p.max(0)) / 2 for p in eyes], np.float32),
        eye_verts=[np.unique(tri[group == GROUPS.index(f"helper-{s}-eye")]) for s in "rl"],
        units={n[6:]: k for k, n in enumerate(names)},
        index=np.concatenate(index),
        delta=np.concatenate(delta),
        start=np.array(start),
    )


def _add(v, name, weight):
    if weight and name in targets():
        i, d = targets()[name]
        v[i] += np.float32(weight) * d


class Actor:
    """One person.

    Attributes for other modules: number, female, age (0 young .. 1 old), style_gain (region ->
    factor), asym (left minus right, about ±0.1).
    """

    def __init__(self, number: int, seed: int = 0):
        if not (1 <= number <= 24 or number >= 1000):
            raise ValueError(f"no actor {number}: the cast is 1..24, the crowd starts at 1000")
        rng = np.random.default_rng([seed, number, 77])
        self.number, self.female = number, number % 2 == 0
        if number in CAST:
            look = CAST[number]
        else:
            look = _draw(rng, self.female)
        race, self.age, melanin, self.hair_style, hair, iris, beard, glasses, garment = look
        p = plan()
        v = self._shape(rng, np.array(race, float))
        self.style_gain = {
            k: float(np.clip(rng.normal(1, 0.15), 0.7, 1.35))
            for k in ("brow", "eye", "mouth", "nose", "cheek", "jaw")
        }
        self.asym = float(rng.normal(0, 0.08))
        if self.hair_style in HIDES_EARS:  # ears lie close under the hair
            e = p["ear"]
            v[e, 0] = np.sign(v[e, 0]) * np.minimum(
                np.abs(v[e, 0]), 0.66 + (np.abs(v[e, 0]) - 0.72) * 0.1
            )
        # Everyone has the same size and place in the frame, given by the middle of the eyes and by
        # a mean of eye distance and face height.
        eyes = np.array([(v[i].min(0) + v[i].max(0)) / 2 for i in p["eye_verts"]])
        chin = v[
            p["body"] & (np.abs(p["v"][:, 0]) < 0.05) & (p["v"][:, 2] > 1.2) & (p["v"][:, 1] > 5.9),
            1,
        ].min()
        ratio = ((eyes[1, 0] - eyes[0, 0]) / 0.615) ** 0.6 * ((eyes[0, 1] - chin) / 1.13) ** 0.4
        v = ((v - eyes.mean(0)) / ratio + [0, 7.28, 1.25]).astype(np.float32)
        upper = np.unique(p["tri"][p["group"] == GROUPS.index("helper-upper-teeth")])
        v[upper] += np.array([0, -0.045, 0.015], np.float32)  # so that they show when the lips part
        self.v, self.skin_tone = v, self._tone(rng, melanin)
        self.hair_colour = linear(HAIR[hair]) * np.exp(rng.normal(0, 0.03, 3)).astype(np.float32)
        brow = dict(
            thick=float(
                np.exp(rng.normal(0, 0.16)) * (1.25 if melanin > 0.6 else 1)
            ),  # dark on dark shows less
            arch=float(rng.normal(0.012 if self.female else 0.0, 0.010)),
            drop=float(rng.normal(0, 0.012)),
        )
        brow_hair = (
            self.hair_colour if hair not in ("blond", "white", "light") else self.hair_colour * 0.55
        )
        self.tex, self.pore = skin.paint(
            rng,
            self.skin_tone,
            brow_hair,
            brow,
            melanin,
            self.age,
            self.female,
            beard,
            rng.uniform(0, 1) if self.female else 0.0,
        )
        self._assemble(rng, garment, bool(glasses))
        self._look(rng, melanin, iris, garment)

    def _shape(self, rng, race):
        """Neutral vertices (V,3): macro targets, a little of each local one, and corrections."""
        v = plan()["v"].copy()
        self._add_macro_targets(v, rng, race)
        self._add_local_targets(v, rng)
        for n in sorted(t for t in targets() if t.startswith("asym")):
            _add(v, n, max(0.0, rng.normal(-0.1, 0.10)))
        self._add_corrections(v)
        return v

    def _add_macro_targets(self, v, rng, race):
        """Race, sex, age and weight."""
        male = float(
            np.clip(
                (0 if self.female else 1) + (1 if self.female else -1) * abs(rng.normal(0, 0.10)),
                0,
                1,
            )
        )
        weight = float(np.clip(rng.normal(-0.15, 0.35), -0.8, 0.8))
        extreme = "maxweight" if weight > 0 else "minweight"
        for sex, a in (("male", male), ("female", 1 - male)):
            for years, b in (("young", 1 - self.age), ("old", self.age)):
                for name, c in zip(("african", "asian", "caucasian"), race):
                    _add(v, f"macrodetails/{name}-{sex}-{years}", a * b * c)
                body = f"macrodetails/universal-{sex}-{years}-averagemuscle-{extreme}"
                _add(v, body, abs(weight) * a * b)

    def _add_local_targets(self, v, rng):
        """A little of every local pair of targets, the same on both sides of the face."""
        for n in sorted(targets()):
            folder, last = n.split("/")[0], n.rsplit("-", 1)[-1]
            if (
                folder not in PARTS
                or "/r-" in n
                or last in OPPOSITE.values()
                or "age" in n
                or "eyebrows-angle" in n
            ):
                continue
            if last in OPPOSITE:
                sd = PARTS[folder] * (
                    0.6 if "scale" in n or "trans" in n else 0.4 if "angles" in n else 1
                )
                w = float(np.clip(rng.normal(0, sd), -0.6, 0.6))
                m = n if w > 0 else n[: -len(last)] + OPPOSITE[last]
                for q in (m, m.replace("/l-", "/r-")) if "/l-" in m else (m,):
                    _add(v, q, abs(w))
            elif folder == "head":
                _add(v, n, min(0.5, max(0.0, rng.normal(-0.25, 0.3))))

    def _add_corrections(self, v):
        """The same corrections for all people of a sex."""
        if self.female:  # the macro targets leave women rather square
            for n, w in (
                ("chin/chin-jaw-drop-decr", 0.25),
                ("chin/chin-width-decr", 0.45),
                ("head/head-oval", 0.35),
                ("head/head-square", -0.15),
            ):
                _add(v, n, w)
        for side in "lr":  # eyes large enough to read at 64 pixels
            _add(v, f"eyes/{side}-eye-scale-incr", 0.25 if self.female else 0.15)
        # Resting faces of this mesh look stern: lift the inner brows and the mouth's corners a bit.
        for n, w in (
            ("browInnerUp", 0.07),
            ("mouthSmileLeft", 0.14),
            ("mouthSmileRight", 0.14),
            ("eyeWideLeft", 0.11),
            ("eyeWideRight", 0.11),
        ):
            _add(v, "arkit/" + n, w)

    def _tone(self, rng, melanin):
        x = np.clip(melanin, 0, 0.999) * 4
        i = int(x)
        return (
            (TONES[i] * (1 - x + i) + TONES[min(i + 1, 4)] * (x - i))
            * np.exp(rng.normal(0, 0.025, 3))
        ).astype(np.float32)

    def _look(self, rng, melanin, iris, garment):
        lip = (
            self.skin_tone
            * np.array([0.84, 0.58, 0.58])
            * (
                np.array([1.02, 0.80, 0.84]) ** rng.uniform(0, 1.6)
                if self.female
                else np.array([1, 1.08, 1.06])
            )
        )
        cloth, second = (
            CLOTHS[rng.integers(len(CLOTHS))],
            LIGHT_CLOTHS[rng.integers(len(LIGHT_CLOTHS))],
        )
        if garment in ("vneck", "collar") and rng.random() < 0.5:
            cloth = second * 0.6
        sclera = np.array([0.60, 0.575, 0.55]) * (1 - 0.10 * self.age)
        teeth = np.array([0.90, 0.83, 0.71]) * (1 - 0.14 * self.age)
        kind = {"jacket": 1, "collar": 2, "yoke": 3}.get(garment, 0)
        scalp = 0.0 if self.hair_style == "bald" else 0.92
        rows = [
            self.skin_tone,
            lip,
            (rng.uniform(0.8, 1.2), 0.006 if rng.random() < 0.7 else 0.06, scalp),
            self.hair_colour,
            linear(IRIS[iris]),
            sclera,
            teeth,
            self.hair_colour * 0.12 + 0.003,
            cloth,
            second,
            (kind, 0, 0),
            (skin.TEXELS, skin.X_LEFT, skin.Y_TOP),
        ]
        self.look = np.array(rows, np.float32)
        self.strands = noise(rng, (64, 1024), (6, 0.8)).astype(np.float32)
        if self.hair_style in ("afro", "curly"):
            self.strands = noise(rng, (64, 1024), (2.0, 6.0)).astype(np.float32)

    # Long: part after part is added (clothes, hair, glasses), then all are joined.
    def _assemble(self, rng, garment, glasses):
        """Add what does not deform: clothes, hair, glasses.

        Collects all triangles, their attributes and the neck weights.
        """
        p = plan()
        base = p["v"]
        n = len(base)
        rest = np.zeros_like(self.v)
        body = p["group"] == GROUPS.index("body")
        raster.normals(self.v, p["tri"][body], rest)
        att = np.zeros((n, 3), np.float32)
        att[:, 2] = 1
        att[:, 0] = p["inner"]
        scalp = hairline(base, self.hair_style, self.age, self.female)
        att[:, 1] = np.where(
            p["body"] & ~p["ear"],
            np.clip(scalp / 0.09, -1, 1) * (0.85 if self.hair_style == "buzz" else 1),
            -1,
        )
        teeth = np.unique(p["tri"][p["material"] == raster.TEETH])
        att[teeth, 0] = np.where(
            np.isin(teeth, p["tri"][p["group"] == GROUPS.index("helper-upper-teeth")]),
            base[teeth, 1] - 6.80,
            6.45 - base[teeth, 1],
        )
        self.canonical = [base]
        verts, nrm, atts, tris, mats = [self.v], [rest], [att], [p["tri"]], [p["material"]]
        count = n

        def add(v, nn, a, t, m):
            nonlocal count
            verts.append(v.astype(np.float32))
            nrm.append(nn.astype(np.float32))
            atts.append(a.astype(np.float32))
            tris.append((t + count).astype(np.int32))
            mats.append(np.full(len(t), m, np.uint8))
            count += len(v)

        # clothes: the body pushed outwards below the neckline
        field, thick = neckline(base, garment)
        t = p["tri"][body]
        t = t[field[t].max(1) > 0]
        used, t = np.unique(t, return_inverse=True)
        a = np.zeros((len(used), 3))
        a[:, 2] = field[used]
        a[:, 1] = 0.10 - field[used] if garment == "collar" else -1
        add(
            self.v[used] + rest[used] * thick[used, None],
            rest[used],
            a,
            t.reshape(-1, 3),
            raster.CLOTH,
        )
        self.canonical.append(base[used])
        for v, nn, a, t in hair(rng, self.v, self.hair_style, self.age, self.female):
            add(v, nn, a, t, raster.HAIR)
            self.canonical.append(v.astype(np.float32))
        if glasses:
            v, nn, t = spectacles(rng)
            add(v, nn, np.zeros((len(v), 3)), t, raster.RIM)
            self.canonical.append(v.astype(np.float32))
        hidden = body & (field[p["tri"]].min(1) > 0.12)
        tris[0], mats[0] = p["tri"][~hidden], p["material"][~hidden]
        self.skin_tris = np.ascontiguousarray(p["tri"][~hidden])
        self.rest = np.ascontiguousarray(np.concatenate(verts), np.float32)
        self.rest_normals = np.ascontiguousarray(np.concatenate(nrm), np.float32)
        self.att = np.ascontiguousarray(np.concatenate(atts), np.float32)
        self.tri = np.ascontiguousarray(np.concatenate(tris), np.int32)
        self.mat = np.concatenate(mats)
        self.canonical = np.ascontiguousarray(np.concatenate(self.canonical), np.float32)
        self.neck = step(self.rest[:, 1], 5.75, 6.45).astype(np.float32)
        self.eyes = np.zeros((2, 8), np.float32)
        self.eyes[:, :3] = p["eye_centre"]
        self.coarse = np.float32(1.0)


def _draw(rng, female):
    """Look of a crowd person."""
    race = rng.dirichlet([0.45, 0.45, 0.6])
    age = float(np.clip(rng.beta(0.9, 2.2), 0, 0.85))
    melanin = float(np.clip(race @ [0.85, 0.32, 0.14] + rng.normal(0, 0.08), 0.03, 0.98))
    styles = (
        ("long", "bob", "bangs", "tied", "bun", "pixie", "afro")
        if female
        else ("short", "side", "buzz", "medium", "curly", "receding", "bald")
    )
    odds = np.array(
        [0.30, 0.18, 0.14, 0.16, 0.08, 0.10, 0.04 + 0.3 * race[0]]
        if female
        else [0.26, 0.20, 0.12 + 0.3 * race[0], 0.12, 0.12, 0.02 + 0.4 * age, 0.04 + 0.15 * age]
    )
    style = styles[rng.choice(7, p=odds / odds.sum())]
    odds = (
        np.array([0.45, 0.3, 0.1, 0.04, 0.03, 0.03, 0.03, 0.02])
        if race[2] < 0.5 or melanin > 0.42
        else np.array([0.10, 0.22, 0.24, 0.16, 0.12, 0.08, 0.05, 0.03])
    )
    odds = odds * np.where(np.arange(8) >= 6, 0.3 + 7 * age**2, 1)
    hair = list(HAIR)[rng.choice(8, p=odds / odds.sum())]
    iris = list(IRIS)[
        rng.choice(
            6, p=[0.75, 0.2, 0.05, 0, 0, 0] if melanin > 0.4 else [0.2, 0.25, 0.15, 0.2, 0.1, 0.1]
        )
    ]
    beard = (
        ""
        if female
        else ("", "stubble", "goatee", "moustache", "short", "full")[
            rng.choice(6, p=[0.45, 0.2, 0.1, 0.05, 0.12, 0.08])
        ]
    )
    garment = ("crew", "vneck", "turtle", "jacket", "collar", "yoke")[rng.integers(6)]
    return race, age, melanin, style, hair, iris, beard, int(rng.random() < 0.15), garment


def hairline(c, style, age, female):
    """Signed height above the hairline (dm, positive = hair) at canonical places c (n,3)."""
    x, y, z = np.abs(c[:, 0]), c[:, 1], c[:, 2]
    soft = -0.12 * np.logaddexp(-z / 0.12, -1.34 / 0.12)
    h = (
        y
        - soft
        - 6.62
        - (0.12 if female else 0.05) * np.exp(-((x / 0.42) ** 2)) * step(z, 0.8, 1.2)
    )
    if not female:
        h = (
            h
            - 0.05 * step(z, 0.9, 1.2)
            - 0.15 * np.exp(-(((x - 0.50) / 0.17) ** 2)) * step(z, 0.8, 1.1) * (0.6 + age)
        )
    if style == "receding":
        h = np.minimum(h, 0.9 * (7.86 - y + 0.35 * np.maximum(0.75 - z, 0)))
    if style == "bald":
        return np.full(len(c), -1.0)
    if style == "bangs":
        h = np.maximum(h, np.minimum(y - 7.62 - 0.25 * x, 0.62 - x) * step(z, 0.7, 0.9))
    if style == "pixie":
        h = np.maximum(
            h, np.minimum(y - 7.74 - 0.35 * x + 0.15 * c[:, 0], 0.60 - x) * step(z, 0.7, 0.9)
        )
    cut = np.sqrt(((y - 7.10) / 0.42) ** 2 + ((z - 0.30) / 0.34) ** 2) - 1  # around the ear
    if style == "afro":
        h = np.minimum(h, y - 6.85)
    if style not in HIDES_EARS:
        h = np.where((x > 0.45) & (z > -0.5), np.minimum(h, 0.35 * cut), h)
        h = np.minimum(h, y - (6.42 if female else 6.50))
    return h


def neckline(c, garment):
    """Signed depth below the neckline (n,) and thickness of the cloth (n,) at canonical places."""
    x, y, z = np.abs(c[:, 0]), c[:, 1], c[:, 2]
    field = 6.02 - 0.32 * (z - 0.2) - y
    if garment == "vneck":
        field = field - step(z, 0.2, 0.5) * np.maximum(0.42 - x, 0) * 1.1
    elif garment in ("turtle", "jacket", "collar"):
        top = {"turtle": 6.24, "jacket": 6.10, "collar": 6.14}[garment]
        field = np.minimum(top - 0.22 * (z - 0.2) - y, np.where(y > 5.95, (0.84 - z) * 1.0, 1))
        if garment != "turtle":
            field = np.minimum(field, np.where(z > 0.3, x * 0.9 + 5.93 - y, 1))
    thick = (
        0.008
        + 0.037 * step(field, 0, 0.10 if garment in ("crew", "vneck", "yoke") else 0.05)
        + (0.035 * step(0.16 - field, 0, 0.12) if garment in ("collar", "turtle", "jacket") else 0)
    )
    return field.astype(np.float32), np.broadcast_to(thick, field.shape).astype(np.float32)


def _grid(rows, cols, wrap):
    """Triangles of a (rows, cols) grid of vertices.

    They face outwards when columns run counter-clockwise seen from above.
    """
    i, j = np.meshgrid(np.arange(rows - 1), np.arange(cols if wrap else cols - 1), indexing="ij")
    a, b = i * cols + j, i * cols + (j + 1) % cols
    c, d = a + cols, b + cols
    return np.concatenate(
        [np.stack([a, c, b], -1).reshape(-1, 3), np.stack([b, c, d], -1).reshape(-1, 3)]
    )


def _finish(points, tri):
    v = points.reshape(-1, 3).astype(np.float32)
    n = np.zeros_like(v)
    raster.normals(v, np.ascontiguousarray(tri, np.int32), n)
    return v, n


# Long: every style is built from the same measures of one skull, a block for each style.
def hair(rng, v, style, age, female):
    """Hair as smooth sheets around the skull.

    Returns a list of (vertices, normals, attributes (strand, edge, along), triangles).
    """
    if style == "bald":
        return []
    p = plan()
    rows, cols = 46, 96
    centre = np.array([0, 7.45, 0.45], np.float32)
    pol, az = np.meshgrid(
        np.linspace(0.02, np.deg2rad(128), rows), np.arange(cols) / cols * 2 * np.pi, indexing="ij"
    )
    ray = (
        np.stack([np.sin(pol) * np.sin(az), np.cos(pol), np.sin(pol) * np.cos(az)], -1)
        .reshape(-1, 3)
        .astype(np.float32)
    )
    tri = p["tri"][
        (p["material"] == raster.SKIN)
        & (p["v"][p["tri"], 1].min(1) > 6.0)
        & ~p["ear"][p["tri"]].any(1)
    ]
    far, hit, bary = (
        np.zeros(len(ray), np.float32),
        np.zeros(len(ray), np.int32),
        np.zeros((len(ray), 3), np.float32),
    )
    raster.cast_rays(centre, ray, v, np.ascontiguousarray(tri), far, hit, bary)
    can = (p["v"][tri[hit]] * bary[..., None]).sum(1)
    good = ((hit >= 0) & (far > 0.6)).reshape(rows, cols).astype(np.float32)

    def fill(q, s):  # smooth over the ears' holes
        q = q.reshape(rows, cols)
        return gaussian_filter(q * good, s, mode=("nearest", "wrap")) / np.maximum(
            gaussian_filter(good, s, mode=("nearest", "wrap")), 1e-4
        )

    radius = np.maximum(fill(far, (1.2, 1.6)), 0.3)
    radius = np.where(good > 0, np.maximum(radius, far.reshape(rows, cols) * 0.995), radius)
    place = (centre + ray * radius.reshape(-1, 1)).reshape(rows, cols, 3)
    can = np.where(good[..., None] > 0, can.reshape(rows, cols, 3), place)
    h = hairline(can.reshape(-1, 3), style, age, female).reshape(rows, cols)
    up = np.cos(pol)
    clump = gaussian_filter(rng.standard_normal((rows, cols)), (6, 1.0), mode=("nearest", "wrap"))
    clump *= step(pol, 0.0, 0.6) / clump.std()  # none at the pole, where the columns meet
    top, side, front, rough = {
        "short": (0.13, 0.025, 0.10, 0.12),
        "side": (0.15, 0.06, 0.10, 0.10),
        "buzz": (0.018, 0.015, 0, 0),
        "medium": (0.17, 0.13, 0.05, 0.12),
        "curly": (0.24, 0.12, 0.08, 0.15),
        "receding": (0.05, 0.09, 0, 0.05),
        "long": (0.12, 0.14, 0, 0.05),
        "bob": (0.13, 0.16, 0, 0.05),
        "bangs": (0.14, 0.15, 0.02, 0.05),
        "tied": (0.08, 0.045, 0, 0.03),
        "bun": (0.08, 0.045, 0, 0.03),
        "pixie": (0.14, 0.08, 0.06, 0.12),
        "afro": (0.40, 0.30, 0.0, 0.04),
    }[style]
    scale = float(np.exp(rng.normal(0, 0.12)))
    thick = (
        (
            side
            + (top - side) * step(up, 0.0, 0.75)
            + front * step(up, 0.35, 0.8) * step(np.cos(az), 0.2, 0.9)
        )
        * scale
        * (1 + rough * clump)
    )
    if style in ("afro", "curly"):
        curl = gaussian_filter(
            rng.standard_normal((rows, cols)), (1.3, 1.6), mode=("nearest", "wrap")
        )
        thick = thick * (
            1 + step(pol, 0.0, 0.5) * (0.05 if style == "afro" else 0.11) * curl / curl.std()
        )
    width = {"afro": 0.45, "buzz": 0.05, "bangs": 0.16}.get(style, 0.20)
    part = float(rng.choice([-1, 1]) * rng.uniform(0.0, 0.35))
    parted = style in ("long", "bob", "side", "medium") or (style == "bangs")
    edge = h.copy()
    taper = (
        np.sqrt(np.clip(h / width, 0, 1)) * (0.35 + 0.65 * np.clip(h / width, 0, 1))
        if style != "afro"
        else step(h, -0.05, 0.35)
    )
    if style in (
        "short",
        "side",
        "medium",
        "receding",
        "tied",
        "bun",
    ):  # combed away from the face: rises slowly
        taper = (
            step(h, -0.03, 0.5)
            if style in ("tied", "bun")
            else 0.25 * np.sqrt(np.clip(h / 0.1, 0, 1)) + 0.75 * step(h, 0, 0.42)
        )
    if parted and style != "bangs":
        groove = np.exp(-(((place[..., 0] - part) / 0.045) ** 2)) * step(place[..., 2], 0.1, 0.4)
        taper = taper * (1 - 0.45 * groove)
        edge = np.minimum(edge, np.where(groove > 0.05, 0.12 + 0.3 * (1 - groove), 9))
    out = (
        place
        + ray.reshape(rows, cols, 3)
        * (np.where(h > 0, thick * taper, -0.10 * np.clip(-h / 0.05, 0, 1)))[..., None]
    )
    t = _grid(rows, cols, True)
    t = t[(edge.reshape(-1)[t].max(1) > -0.06)]
    if parted:
        strand, along = (
            place[..., 2] * 0.17 + 0.5,
            np.abs(place[..., 0] - part) * 0.5 + (1 - up) * 0.2,
        )
    else:
        strand, along = az / (2 * np.pi), pol * (1.6 if style in ("afro", "curly") else 0.5)
    if style == "bangs":
        strand, along = az / (2 * np.pi), pol * 0.5
    n = _finish(out, t)[1].reshape(rows, cols, 3)
    if (
        not parted or style == "bangs"
    ):  # a seam, so that strand numbers do not run backwards over the last column
        out, n, edge, along = (np.concatenate([q, q[:, :1]], 1) for q in (out, n, edge, along))
        strand = np.concatenate([strand, np.ones((rows, 1))], 1)
        t = _grid(rows, cols + 1, False)
        t = t[(edge.reshape(-1)[t].max(1) > -0.06)]
    if style in ("bangs", "pixie"):
        along = along + 10  # a fringe hides the skin
    parts = [
        (
            out.reshape(-1, 3),
            n.reshape(-1, 3),
            np.stack([strand, edge * 2, along], -1).reshape(-1, 3),
            t,
        )
    ]
    if style in ("long", "bob", "bangs"):
        parts.append(
            _curtain(rng, style, centre, radius, thick, az[0], pol[:, 0], strand[:, :cols], scale)
        )
    if style == "bun":
        a, b = np.meshgrid(
            np.linspace(0.05, np.pi - 0.05, 18), np.arange(32) / 32 * 2 * np.pi, indexing="ij"
        )
        ball = np.stack(
            [
                0.36 * np.sin(a) * np.sin(b),
                8.70 + 0.27 * np.cos(a),
                0.05 + 0.33 * np.sin(a) * np.cos(b),
            ],
            -1,
        )
        t = _grid(18, 32, True)
        q, n = _finish(ball, t)
        parts.append(
            (
                q,
                n,
                np.stack([a * 0.3 + 0.05 * np.sin(b), np.ones_like(a), b * 0.3], -1).reshape(-1, 3),
                t,
            )
        )
    return parts


# Long: one sheet of hair from its upper to its lower edge, in the order of its rows.
def _curtain(rng, style, centre, radius, thick, az, pol, strand, scale):
    """Hair that hangs beside and behind the face.

    It leaves the cap at the temples and falls to the jaw or the shoulders.
    """
    cols, rows = 72, 30
    first = np.deg2rad({"long": 55, "bob": 56, "bangs": 54}[style] + rng.normal(0, 3))
    col = np.linspace(first, 2 * np.pi - first, cols)
    straight = style == "long" or (style == "bangs" and rng.random() < 0.6)
    ends = (5.45 + rng.uniform(-0.2, 0.35)) if straight else (6.30 + rng.uniform(-0.12, 0.15))

    def at(q, angle):  # map value at (polar angle, every column)
        i = np.interp(angle, pol, np.arange(len(pol)))
        k, u = int(i), i - int(i)
        row = q[k] * (1 - u) + q[min(k + 1, len(pol) - 1)] * u
        return np.interp(col, np.append(az, 2 * np.pi), np.append(row, row[0]))

    points = np.zeros((rows, cols, 3))
    edge, along = np.zeros((rows, cols)), np.zeros((rows, cols))
    lean = np.sin(np.linspace(0, np.pi, cols))  # 0 at the front edges, 1 at the back
    front = np.clip(1 - lean * 2.2, 0, 1)
    wave = noise(rng, (rows, cols), (5, 2.2)) * 0.012
    turn, hang = np.deg2rad(86), 10
    for r in range(rows):
        if r < hang:
            a = np.deg2rad(38) + (turn - np.deg2rad(38)) * r / (hang - 1)
            d = np.stack(
                [np.sin(a) * np.sin(col), np.full(cols, np.cos(a)), np.sin(a) * np.cos(col)], -1
            )
            points[r] = (
                centre
                + d
                * (
                    at(radius, a)
                    + at(thick, a) * (0.2 + 0.85 * step(r / (hang - 1), 0.1, 0.7))
                    + wave[r]
                )[:, None]
            )
        else:
            t = (r - hang + 1) / (rows - hang)
            y0 = points[hang - 1, :, 1]
            low = ends + (0.10 if straight else 0.05) * lean
            y = y0 + (low - y0) * t
            k = (
                1
                + (0.05 * np.sin(np.pi * min(t * 1.3, 1)) + (0.05 if straight else -0.16 * t * t))
                + wave[r]
            )
            points[r, :, 0] = points[hang - 1, :, 0] * k
            points[r, :, 2] = (
                centre[2]
                - 0.2
                + (points[hang - 1, :, 2] - centre[2] + 0.2) * (1 + wave[r])
                + front * (0.25 * t if straight else 0.06 * t)
            )
            points[r, :, 1] = y
        left = 1 - r / (rows - 1)
        edge[r] = np.minimum(
            left * (4.0 if straight else 3.5),
            np.minimum(col - first, 2 * np.pi - first - col) * 0.6 + 0.02,
        )
        along[r] = 10 + r / rows * 1.2  # 10 and more: hanging hair
    s = at(strand, turn) if style != "bangs" else col / (2 * np.pi)
    tri = _grid(rows, cols, False)
    v, n = _finish(points, tri)
    return v, n, np.stack([np.broadcast_to(s, (rows, cols)), edge, along], -1).reshape(-1, 3), tri


def spectacles(rng):
    """Frames: two rims, a bridge and the arms; vertices, normals, triangles."""
    a, b, power = rng.uniform(0.24, 0.28), rng.uniform(0.17, 0.23), rng.uniform(2, 4)
    width = rng.uniform(0.016, 0.030)
    t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    ring = np.stack(
        [
            np.sign(np.cos(t)) * np.abs(np.cos(t)) ** (2 / power),
            np.sign(np.sin(t)) * np.abs(np.sin(t)) ** (2 / power),
        ],
        1,
    )
    verts, tris = [], []

    def strip(inner, outer, closed):
        start, n = sum(map(len, verts)), len(inner)
        verts.extend([inner, outer])
        k = np.arange(n if closed else n - 1)
        m = (k + 1) % n
        tris.append(
            start + np.concatenate([np.stack([k, k + n, m], 1), np.stack([m, k + n, m + n], 1)])
        )

    def bend(xy):
        return np.column_stack([xy, 1.66 - 0.20 * (xy[:, 0] / 0.6) ** 2])

    for side in (-1, 1):
        mid = np.array([side * 0.325, 7.245])
        strip(bend(mid + ring * [a, b]), bend(mid + ring * [a + width, b + width]), True)
        x = np.linspace(0.325 + a, 0.80, 6)
        arm = np.stack(
            [side * x, np.full(6, 7.30), np.interp(x, [0.55, 0.66, 0.80], [1.50, 1.3, 0.45])], 1
        )
        strip(arm, arm + [0, 0.03, 0], False)
    x = np.linspace(-0.325 + a, 0.325 - a, 8)
    y = 7.29 + 0.02 * np.cos(x / 0.08)
    strip(bend(np.stack([x, y], 1)), bend(np.stack([x, y + width], 1)), False)
    v = np.concatenate(verts)
    n = np.tile([0, 0.3, 0.95], (len(v), 1))
    return v, n, np.concatenate(tris)
