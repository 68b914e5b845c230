"""The builder of the synthetic corpora: ``python -m tools.corpus`` (extra ``corpus``)."""
