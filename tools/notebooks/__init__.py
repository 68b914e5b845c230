"""Notebooks as programs: execute them, report on a run, publish outputs, count what they offer."""
