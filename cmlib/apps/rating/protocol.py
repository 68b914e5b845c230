"""What raters read and agree to, when answers are left out, and what each column means.

``docs/rating_study.md`` repeats these texts for an ethics committee and a pre-registration; a test
compares both.
"""

from __future__ import annotations

import pandas as pd

from cmlib.apps.rating.items import ATTENTION_CHECK, SCALE

CONSENT_VERSION = 1  # raise it when the text below changes: each answer keeps the version

CONSENT = (
    "You are invited to judge pictures of faces. It takes about ten minutes.",
    "For each picture you answer three questions. There are no right or wrong answers.",
    "Some pictures look odd or slightly distorted. You see no violent or sexual content.",
    "We keep your answers, the order of the pictures and the seconds that each answer took. We "
    "keep no name, no address, no date and no recording of you. The short name that you choose "
    "only lets you come back; it is replaced by a number before the answers leave this computer.",
    "Taking part is voluntary. You may stop at any time and need not say why. Until the answers "
    "are numbered you may ask us to delete yours: tell us the short name.",
    "The answers may be published as a table without names, for research and teaching.",
)
AGREEMENT = "I am at least 18 years old, I have read this, and I want to take part."

INSTRUCTIONS = (
    "Look at the face, not at the hair or the background, and answer what comes to mind first.",
    "Say first what the face expresses. Choose neutral if it expresses nothing.",
    "Then say how intense the expression is, from 1 (not at all) to 7 (very).",
    "Then say how real the picture looks, from 1 (not at all) to 7 (like a photograph).",
    "Now and then there is a sentence in place of a face. Please do what it says.",
    "You cannot go back to an earlier picture. You may pause, and go on under the same short name.",
)

# -------------------------------------------------------------------- who is left out

# None of these looks at what a rater sees in a face, so leaving raters out cannot make the effect.
LEAST_ANSWERED = 0.9  # share of the pictures
MOST_FAILED_CHECKS = 1
LEAST_SECONDS = 1.5  # median for a picture
MOST_ALIKE = 0.9  # share of pictures with one and the same triple of answers

RULES = {
    "incomplete": f"answered fewer than {LEAST_ANSWERED:.0%} of the pictures",
    "inattentive": f"failed more than {MOST_FAILED_CHECKS} attention check",
    "too fast": f"needed less than {LEAST_SECONDS} seconds for a picture, in the median",
    "always alike": f"gave the same three answers to more than {MOST_ALIKE:.0%} of the pictures",
}


def passed(answers: pd.DataFrame) -> pd.Series:
    """For each answer to an attention check: is it what was asked for?"""
    marks = answers.intensity.astype(str) + " " + answers.realism.astype(str)
    return answers.emotion + " " + marks == answers.asked


def exclusions(answers: pd.DataFrame, pictures: int) -> pd.DataFrame:
    """A row for each rater: what the rules look at, and the names of the rules that are broken.

    ``pictures`` is how many faces a rater was to judge. Columns: rater, answered, failed_checks,
    median_seconds, alike (share), excluded (names of ``RULES``, "" for nobody to leave out).
    """
    rows = []
    for rater, of_rater in answers.groupby("rater", sort=True):
        is_check = of_rater.kind == ATTENTION_CHECK
        checks, faces = of_rater.loc[is_check], of_rater.loc[~is_check]
        answered = len(faces)
        failed = int((~passed(checks)).sum())
        seconds = float(faces.seconds.median()) if answered else 0.0
        triples = faces.groupby(["emotion", "intensity", "realism"], observed=True).size()
        alike = float(triples.max() / answered) if answered else 0.0
        broken = {
            "incomplete": answered < LEAST_ANSWERED * pictures,
            "inattentive": failed > MOST_FAILED_CHECKS,
            "too fast": seconds < LEAST_SECONDS,
            "always alike": alike > MOST_ALIKE,
        }
        reasons = ", ".join(rule for rule, is_broken in broken.items() if is_broken)
        rows.append([rater, answered, failed, seconds, alike, reasons])
    columns = ["rater", "answered", "failed_checks", "median_seconds", "alike", "excluded"]
    return pd.DataFrame(rows, columns=pd.Index(columns))


def to_analyse(answers: pd.DataFrame, pictures: int) -> pd.DataFrame:
    """The answers about faces of all raters whom no rule leaves out."""
    raters = exclusions(answers, pictures).query("excluded == ''").rater
    is_face = answers.kind != ATTENTION_CHECK
    return answers.loc[is_face & answers.rater.isin(raters)].reset_index(drop=True)


# -------------------------------------------------------------------- what the columns mean

SCALE_IN_WORDS = f"{SCALE[0]} to {SCALE[-1]}"
DICTIONARY = {
    "rater": ("text", "short name that the rater chose; P01, P02, ... in an export"),
    "position": ("1, 2, ...", "place of the picture in this rater's order, checks included"),
    "item": ("text", "which picture; the last eight digits change with its pixels"),
    "kind": (
        "original, reconstruction, mental representation, attention check",
        "what the picture is; raters do not learn it",
    ),
    "actor": ("number", "whose face it is; 0 for an attention check"),
    "voice": ("emotion or empty", "emotion of the voice that shifted the face"),
    "emotion": ("emotion", "answer: what the face expresses"),
    "intensity": (SCALE_IN_WORDS, "answer: how intense the expression is"),
    "realism": (SCALE_IN_WORDS, "answer: how real the picture looks"),
    "seconds": ("seconds", "from the appearance of the picture to the press of next"),
    "simulated": ("True or False", "True if no person gave this answer"),
    "asked": ("text or empty", "what an attention check asked for: emotion, intensity, realism"),
    "consent": ("number", "version of the consent text to which the rater agreed"),
}
COLUMNS = list(DICTIONARY)


def data_dictionary() -> pd.DataFrame:
    """A row for each column of the ratings: column, values, meaning."""
    rows = [[column, *texts] for column, texts in DICTIONARY.items()]
    return pd.DataFrame(rows, columns=pd.Index(["column", "values", "meaning"]))
