"""toycrystals: how far is a VAE's prior from the codes that its encoder writes, and what closes the gap?"""

__version__ = "0.1.0"
