"""From facial action units (OpenFace intensities 0..5) to the ARKit face units of the mesh."""

from collections.abc import Mapping

from tools.corpus.actor import Actor, plan

# action unit -> (face unit, weight at intensity 5); a face unit without a side moves both sides
MAP = {
    "AU01": (("browInnerUp", 2.1),),
    "AU02": (("browOuterUp", 2.1),),
    "AU04": (("browDown", 2.5), ("browInnerUp", 0.17)),
    "AU05": (("eyeWide", 2),),
    "AU06": (("cheekSquint", 2), ("eyeSquint", 0.51)),
    "AU07": (("eyeSquint", 1.9),),
    "AU09": (("noseSneer", 2.2), ("browDown", 0.26)),
    "AU10": (("mouthUpperUp", 1.8), ("noseSneer", 0.26)),
    "AU12": (("mouthSmile", 2.2), ("mouthUpperUp", 0.37)),
    "AU14": (("mouthDimple", 1.9), ("mouthPress", 0.34)),
    "AU15": (("mouthFrown", 2.3),),
    "AU17": (("mouthShrugLower", 2), ("mouthShrugUpper", 0.51)),
    "AU20": (("mouthStretch", 2),),
    "AU23": (("mouthPress", 1.4), ("mouthRollLower", 0.77), ("mouthRollUpper", 0.59)),
    "AU25": (("mouthLowerDown", 0.94), ("mouthUpperUp", 0.68), ("jawOpen", 0.17)),
    "AU26": (("jawOpen", 1.5),),
    "AU45": (("eyeBlink", 1.0),),
}
SIDES = ("Left", "Right")


def region(unit: str) -> str:
    """Which of an actor's style gains moves this face unit."""
    return next((r for r in ("brow", "eye", "nose", "cheek", "jaw") if unit.startswith(r)), "mouth")


def face_units(au: Mapping[str, float], actor: Actor) -> dict[str, float]:
    """Face-unit weights (0..1.2) of action-unit intensities (0..5) in this actor's manner.

    Each region of the face has a gain, and one side is stronger than the other. The weight is
    w = gain · (intensity / 5)^1.1, at most 1.2. At the gain of 1.7 that most regions have, an
    intensity of 1 gives 0.29, 2 gives 0.62, and 4 gives the full weight. Raises KeyError for an
    unknown action unit.
    """
    known, out = plan()["units"], {}
    for name, intensity in au.items():
        level = max(float(intensity), 0.0) / 5
        for unit, gain in MAP[name]:
            w = gain * level**1.1 * (1.0 if name == "AU45" else actor.style_gain[region(unit)])
            for full, side in (
                ((unit, 0),) if unit in known else ((unit + "Left", 1), (unit + "Right", -1))
            ):
                out[full] = out.get(full, 0.0) + w * (
                    1 + (actor.asym * side if name != "AU45" else 0)
                )
    return {k: min(w, 1.2) for k, w in out.items() if w > 1e-4}
