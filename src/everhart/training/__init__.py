"""The engine: config, samples, Lightning, and the model file."""

from everhart.training.config import OptimiserConfig, load_config
from everhart.training.engine import DivergedError, TrainingTask, fit
from everhart.training.model_file import (
    LoadedModel,
    ModelCard,
    ModelHeader,
    load_model,
    read_header,
    save_model,
)

__all__ = [
    "DivergedError",
    "LoadedModel",
    "ModelCard",
    "ModelHeader",
    "OptimiserConfig",
    "TrainingTask",
    "fit",
    "load_config",
    "load_model",
    "read_header",
    "save_model",
]
