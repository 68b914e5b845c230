"""Diagrams of the documentation and of the notebooks, drawn by code.

``python -m tools.diagrams`` draws all of them again. ``drawing`` has what they share, and each of
the other modules has the diagrams of one subject.
"""
