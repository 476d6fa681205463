"""Make the features that sets of images are compared by."""

import sys
from pathlib import Path

import torch

from stages.command import run
from toycrystals.artifacts import load_tensors, save_tensors
from toycrystals.config import load_params
from toycrystals.dataset import DatasetSpec
from toycrystals.device import describe, pick_device, resolve_precision
from toycrystals.metrics.features import FactorNetwork, FactorObjective, FeatureConfig, FeatureExtractor
from toycrystals.provenance import Origin
from toycrystals.rng import seed_initialisation
from toycrystals.training import Trainer, TrainingConfig, epoch_means


def fit_features(train: Path, model: Path) -> None:
    """Train the factor network on `train`, and measure principal components and kernel bandwidths."""
    origin, params = Origin("fit_features", train=train), load_params()
    p, device = params.features, pick_device()
    dtype = resolve_precision("auto", device)
    tensors, meta = load_tensors(train, "dataset")
    spec = DatasetSpec(**meta["spec"])
    config = FeatureConfig(spec.variant, spec.n_types, spec.image_size, p.components, p.width)
    images, types, factors = (tensors[name] for name in ("images", "type", "factors"))

    seed_initialisation(params.seed)
    network = FactorNetwork(config).to(device)
    objective = FactorObjective(network, config, images.to(device), types.to(device), factors.to(device))
    training = TrainingConfig(params.seed, p.epochs, p.batch_size, p.learning_rate, dtype)
    trainer = Trainer(network, objective, len(images), training, device)
    print(f"fit_features: {describe(device, dtype)}, {trainer.total_steps} steps", file=sys.stderr)
    for _ in epoch_means(trainer, "fit_features"):
        pass
    extractor = FeatureExtractor.fit(config, network.to(torch.device("cpu")), images)
    weights, description = extractor.tensors_and_meta()
    data = {**meta["spec"], "n": len(images), "md5": origin.md5("train")}
    made = origin.made({"seed": params.seed, "features": p.model_dump()}, data=data)
    save_tensors(model, "feature extractor", weights, {**description, **made})


if __name__ == "__main__":
    run(fit_features)
