"""Priors over the VAE's codes: one file each, found by its name; `base` says what a prior is, `generator` decodes its codes."""
