"""Set the limits of strangeness of a shipped network, and measure how often they warn.

`python -m tools.strangeness limits crowd-64/face actors` writes limits into the card of a network;
its weights and its record of provenance stay as they are. `... rates` shows each network faces and
voices of every kind that is there, and writes the shares that are strange to
``docs/strangeness.json``.

Limits come from people whom the network has not learnt from, and the rates from others. Of the
corpus ``actors`` the actors 1 to 12 set the limits and 13 to 24 are measured. Of CelebA it is every
other person of the part that measures. For a network that a run has trained, its validation people
set the limits and its test people are measured.
"""
