"""Measures of generated crystals: against the exact image of the request, the nearest exact lattice, and held-out images."""
