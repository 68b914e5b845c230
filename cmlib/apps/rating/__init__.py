"""A rating study: people judge faces and do not know which are mental representations.

It follows the human study of Blume et al. (2024, arXiv 2409.02566): originals, reconstructions and
mental representations are shown one at a time in a balanced random order, and a rater says which
emotion each face shows, how intense it is, and how real the picture looks. Each rater has one CSV
of answers, written after each answer. The analysis asks whether the voice that shifted a face makes
people name its emotion more often.

``items`` makes the pictures and their order, ``protocol`` holds the texts and rules, ``study`` is
what raters see, ``answers`` reads and exports, ``analysis`` fits, and ``simulation`` plans.
"""

from cmlib.apps.rating.analysis import (
    MIN_RATERS,
    fit_mixed_model,
    fixed_effects,
    mean_ratings,
    rise_over_raters,
    score_naming,
)
from cmlib.apps.rating.answers import export, read_orders, read_ratings, read_ratings_file
from cmlib.apps.rating.items import (
    ATTENTION_CHECK,
    KINDS,
    MENTAL_REPRESENTATION,
    ORIGINAL,
    RECONSTRUCTION,
    SCALE,
    Item,
    RatingError,
    attention_checks,
    balanced_order,
    create_items,
    rows_of_balance,
    with_checks,
)
from cmlib.apps.rating.protocol import (
    COLUMNS,
    CONSENT,
    CONSENT_VERSION,
    INSTRUCTIONS,
    RULES,
    data_dictionary,
    exclusions,
    to_analyse,
)
from cmlib.apps.rating.simulation import (
    Assumptions,
    raters_needed,
    share_detected,
    simulate_ratings,
    simulate_rises,
)
from cmlib.apps.rating.study import Study

__all__ = [
    "ATTENTION_CHECK",
    "COLUMNS",
    "CONSENT",
    "CONSENT_VERSION",
    "INSTRUCTIONS",
    "KINDS",
    "MENTAL_REPRESENTATION",
    "MIN_RATERS",
    "ORIGINAL",
    "RECONSTRUCTION",
    "RULES",
    "SCALE",
    "Assumptions",
    "Item",
    "RatingError",
    "Study",
    "attention_checks",
    "balanced_order",
    "create_items",
    "data_dictionary",
    "exclusions",
    "export",
    "fit_mixed_model",
    "fixed_effects",
    "mean_ratings",
    "rise_over_raters",
    "rows_of_balance",
    "raters_needed",
    "read_orders",
    "read_ratings",
    "read_ratings_file",
    "score_naming",
    "share_detected",
    "simulate_ratings",
    "simulate_rises",
    "to_analyse",
    "with_checks",
]
