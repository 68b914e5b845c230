"""Context Matters: facial expressions in the context of a voice."""

__version__ = "0.1.0"
