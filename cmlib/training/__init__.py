"""Losses, batches, and the training loop of each network.

``losses``             pure functions, each with its equation
``batches``            pictures cut into batches
``latents``            latents in memory or on the disk, cut into batches
``loop``               what all loops share: devices, random numbers, the log, resuming
``vaegan``             the VAE-GANs of faces and of voices
``small_vaegan``       a short training that records every step, for notebook 02
``expression_critic``  a discriminator that reads expressions
``encoding``           latents of all pictures, from a frozen encoder
``classifier``         the linear classifier
``can``                the context attention network
``face_region``        shifts of a face that leave hair and background alone
"""
