"""What trained models are worth: tables over ``experiment.run.Run``, scores with their intervals.

``scoring``          predictions, scores, differences between models, calibration
``robustness``       scores while one sense is disturbed
``leakage``          one probe under three splits
``ablations``        the context network with one setting changed at a time
``face_ablations``   face VAE-GANs with another measure of reconstruction
``judges``           readers of expressions that share nothing with the models
``identity``         fisherfaces and typicality: the same person, a typical face?
``representations``  mental representations in numbers: congruence, identity, typicality
"""
