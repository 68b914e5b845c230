"""The drawing of every figure: tables and pictures in, a matplotlib figure out.

``style``                           the look of all plots, and how they are saved
``palette``                         names and colours of emotions and models
``kinds``                           building blocks, one for each kind of figure
``notebook_00`` ... ``notebook_12``  the figures of each notebook
"""
