"""Diagrams of the documentation, drawn by code."""
