import itertools

import pytest

from cmlib.corpora.names import CLASSES, EMOTIONS, MODALITIES, ClipName, MeadName, label


def test_vocabulary_follows_the_codes_of_ravdess():
    assert EMOTIONS.index("fearful") + 1 == 6 and EMOTIONS.index("surprised") + 1 == 8
    assert CLASSES == EMOTIONS[1:] and len(CLASSES) == 7
    assert label("calm") == 1 and label("contempt") == -1


def test_a_name_says_what_it_is():
    name = ClipName.parse("02-01-06-01-02-01-12")  # the example of the RAVDESS documentation
    assert (name.modality, name.channel, name.emotion, name.intensity) == (
        "video-only",
        "speech",
        "fearful",
        1,
    )
    assert (name.statement, name.repetition, name.actor) == (2, 1, 12)


def test_every_ravdess_name_survives_the_round_trip():
    names = [
        f"{m:02d}-{c:02d}-{e:02d}-{i:02d}-{s:02d}-{r:02d}-{a:02d}"
        for m, c, e, i, s, r, a in itertools.product(
            (1, 2, 3), (1, 2), range(1, 9), (1, 2), (1, 2), (1, 2), (1, 24)
        )
        if e > 1 or i == 1
    ]
    assert all(ClipName.parse(name).stem == name for name in names)
    assert len({ClipName.parse(name).recording for name in names}) == len(names) / len(MODALITIES)


@pytest.mark.parametrize(
    "stem, fault",
    [
        ("holiday", "seven two-digit numbers"),
        ("01-01-05-02-01-01", "seven two-digit numbers"),
        ("01-01-05-02-01-01-12-copy", "seven two-digit numbers"),
        ("1-1-5-2-1-1-12", "seven two-digit numbers"),
        ("01-01-09-01-01-01-12", "emotion 09"),
        ("04-01-05-01-01-01-12", "modality 04"),
        ("01-01-01-02-01-01-12", "intensity 02"),  # there is no strong neutral
        ("01-01-05-02-01-01-00", "actor 00"),
    ],
)
def test_other_names_are_refused_with_the_reason(stem, fault):
    with pytest.raises(ValueError, match=fault) as error:
        ClipName.parse(stem)
    assert stem in str(error.value)


@pytest.mark.parametrize(
    "path", ["M003/video/front/angry/level_2/001", "W009/audio/contempt/level_1/012"]
)
def test_mead_paths_survive_the_round_trip(path):
    suffix = ".mp4" if "video" in path else ".m4a"
    assert (
        MeadName.parse(path + suffix).path
        == MeadName.parse(f"/data/MEAD/{path}{suffix}").path
        == path
    )
    assert MeadName.parse("M003/audio/disgusted/level_3/001.m4a").emotion == "disgust"


@pytest.mark.parametrize(
    "path", ["M003/video/front/angry/001.mp4", "M003/audio/bored/level_1/001.m4a", "x.mp4"]
)
def test_other_paths_are_refused(path):
    with pytest.raises(ValueError, match="not a MEAD path"):
        MeadName.parse(path)
