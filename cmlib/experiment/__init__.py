"""One run of one corpus, profile, fold and seed: find networks and data, train what is stale.

``run``                  ``Run``, which notebooks and commands use for everything
``rows``                 the clips and frames of a run
``networks``             the files of its networks, and whether they are up to date
``kept``                 tables that take long to measure
``pretrain``             networks of people outside the corpus
``small_vaegans``        the small VAE-GANs of notebook 02
``plan``                 what a profile would cost on this machine
``notebook_parameters``  a check of what papermill passes to a notebook
"""
