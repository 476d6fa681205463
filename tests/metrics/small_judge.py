"""A judge of few small images, with the training samples that it knows."""

from toycrystals.crystals.dataset import make_samples
from toycrystals.metrics.images import ImageJudge
from toycrystals.runtime.config import Metrics

SETTINGS = Metrics(theta_step=2.0, aspect_step=0.05, components=16, neighbours=5, candidates=16)


def small_judge(spec, n, n_train=64, components=8):
    metrics = SETTINGS.model_copy(update={"components": components})
    return ImageJudge.fit(spec, make_samples(spec, "test", n), make_samples(spec, "train", n_train), metrics)
