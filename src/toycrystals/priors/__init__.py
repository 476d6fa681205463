"""Priors over a VAE's codes: the protocol in `base`, a file for each prior, and their names in `registry`."""
