"""Diffusion in three ideas: a schedule (how much noise, when), a denoiser (what was there), a sampler (the way back)."""
