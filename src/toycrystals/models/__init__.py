"""The VAE, its codes, and the training loop."""
