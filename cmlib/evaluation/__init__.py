"""Evaluate trained models: functions of an ``experiment.run.Run`` that return tables.

``scoring``          predictions, scores, differences between models, calibration
``robustness``       scores when one sense is disturbed
``leakage``          one probe under splits that keep actors apart or mix them
``ablations``        the context network with one setting changed at a time
``face_ablations``   face VAE-GANs with another reconstruction error
``judges``           classifiers of expressions that share no weights with the models
``recognisers``      the same, and one of identities, that others trained on photographs
``observers``        a judge that predicts what a hundred people would name in a face
``identity``         is it the same person, and a typical face? fisherfaces and typicality
``representations``  mental representations in numbers: congruence, identity, typicality
"""
