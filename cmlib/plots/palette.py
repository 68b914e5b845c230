"""Names and colours of emotions and models, in plots, reports and the demo.

An emotion has the same colour everywhere. Contempt shares the colour of calm, since no corpus has
both. The eight colours differ in lightness by nine units of CIE L* or more. They therefore survive
greyscale printing, and readers with red-green blindness can tell them apart; markers help where
there is room.
"""

EMOTION_COLORS = {
    "neutral": "#8B8B8B",
    "calm": "#57CFE2",
    "happy": "#EFDC37",
    "sad": "#1B2A5C",
    "angry": "#B11B24",
    "fearful": "#572697",
    "disgust": "#27834B",
    "surprised": "#D09B3A",
    "contempt": "#57CFE2",
}
EMOTION_MARKERS = dict(zip(EMOTION_COLORS, "osPvXD^*s"))
INK, QUIET, ACCENT = "#22252B", "#9AA0AA", "#1F5F8B"
MODEL_NAMES = {
    "face": "face only",
    "voice": "voice only",
    "product_of_experts": "product of experts",
    "concatenation": "concatenation",
    "can_released": "context attention as released",
    "can": "context attention",
}
