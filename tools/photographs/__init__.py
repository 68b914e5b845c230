"""Train the face VAE-GAN of photographs (`checkpoints/photographs-128`) again, or one of your own.

You bring the pictures, because none is shipped:

- many faces of many people, in the layout of CelebA (Liu et al. 2015): pictures,
  ``list_eval_partition.txt`` (``000001.jpg 0``; 0 trains, 1 measures), and, if you have it,
  ``identity_CelebA.txt`` (``000001.jpg 2880``: whom it shows);
- posed expressions of a few people, with a table of the columns file, person and emotion, such as
  those of Chen, Cho & Tseng (2013); for the judges also the shares of observers who named each
  emotion, rated_happy, rated_sad, rated_angry, rated_disgust, rated_fearful and rated_surprised;
- for the evaluation any folders of strangers.

CelebA is for non-commercial research, and so are networks that were trained on it: research and
teaching, non-commercial. Ask the people who made a set of pictures what you may do with it.

The steps are `python -m tools.photographs components`, `... train` and `... evaluate`. A command of
its own, `... observers`, trains the judges of `checkpoints/observers`. Each of them crops the faces
first, unless they are in the cache already. What the evaluation can measure depends on the judges
that are there: `cm fetch face-api` brings two that others trained.

When a network has been trained again, `python -m tools.strangeness limits` sets the limits beyond
which a face is strange to it. `python -m tools.photographs.people` stores the latents of a few real
faces beside it, which the demo shows, and `... typical_voices` the mean voice of each emotion.
`... represent` measures the mental representations of neutral photographs over all folds.
"""
