"""From facial action units (OpenFace intensities 0..5) to the ARKit face units that the mesh understands."""

from collections.abc import Mapping

from tools.corpus.actor import Actor, plan

# action unit -> (face unit, weight at intensity 5); a face unit without a side moves both sides
MAP = {
    "AU01": (("browInnerUp", 1.25),),
    "AU02": (("browOuterUp", 1.25),),
    "AU04": (("browDown", 1.5), ("browInnerUp", 0.10)),
    "AU05": (("eyeWide", 1.20),),
    "AU06": (("cheekSquint", 1.20), ("eyeSquint", 0.30)),
    "AU07": (("eyeSquint", 1.10),),
    "AU09": (("noseSneer", 1.30), ("browDown", 0.15)),
    "AU10": (("mouthUpperUp", 1.05), ("noseSneer", 0.15)),
    "AU12": (("mouthSmile", 1.3), ("mouthUpperUp", 0.22)),
    "AU14": (("mouthDimple", 1.10), ("mouthPress", 0.20)),
    "AU15": (("mouthFrown", 1.35),),
    "AU17": (("mouthShrugLower", 1.15), ("mouthShrugUpper", 0.30)),
    "AU20": (("mouthStretch", 1.15),),
    "AU23": (("mouthPress", 0.80), ("mouthRollLower", 0.45), ("mouthRollUpper", 0.35)),
    "AU25": (("mouthLowerDown", 0.55), ("mouthUpperUp", 0.40), ("jawOpen", 0.10)),
    "AU26": (("jawOpen", 0.90),),
    "AU45": (("eyeBlink", 1.0),),
}
SIDES = ("Left", "Right")


def region(unit: str) -> str:
    """Which of an actor's style gains moves this face unit."""
    return next((r for r in ("brow", "eye", "nose", "cheek", "jaw") if unit.startswith(r)), "mouth")


def face_units(au: Mapping[str, float], actor: Actor) -> dict[str, float]:
    """Face-unit weights (0..1.2) of action-unit intensities (0..5) in this actor's manner: gains by region, and left
    stronger than right or the other way.

    w = gain · (intensity / 5)^1.1: 1 is subtle (0.17), 3 plain (0.57), 5 full. Raises KeyError for an unknown action
    unit.
    """
    known, out = plan()["units"], {}
    for name, intensity in au.items():
        level = max(float(intensity), 0.0) / 5
        for unit, gain in MAP[name]:
            w = gain * level**1.1 * (1.0 if name == "AU45" else actor.style_gain[region(unit)])
            for full, side in ((unit, 0),) if unit in known else ((unit + "Left", 1), (unit + "Right", -1)):
                out[full] = out.get(full, 0.0) + w * (1 + (actor.asym * side if name != "AU45" else 0))
    return {k: min(w, 1.2) for k, w in out.items() if w > 1e-4}
