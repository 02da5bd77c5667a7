"""Configs and tables that tests of the planner share."""

from distalex.config.loading import load_config
from distalex.plan.layers import layers_of

PAPER = load_config(None, {"data.name": "synthetic", "data.synthetic_classes": "1000"})
TORCHVISION = load_config(None, {"model.name": "torchvision"})


def layers(training=PAPER, classes=1000):
    return layers_of(training.model, classes, training.data.image_size, training.train.precision)
