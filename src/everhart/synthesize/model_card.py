"""The audit in the model's card, so that whoever gets the model file gets it, too."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from everhart.synthesize.generator_header import KIND
from everhart.training.model_file import ModelCard, load_model, save_model

__all__ = ["embed_audit"]

_SAID = (
    "date", "images", "parameters", "geometric_mean", "geometric_mean_of",
    "geometric_mean_of_pixels", "ratios", "ratios_count", "auc", "auc_features", "precision",
    "recall", "measured", "noise_ratio", "copies_percent", "diversity",
)  # fmt: skip


def embed_audit(path: Path | str, document: dict[str, Any]) -> None:
    """Write what an audit found into the card of a generator's model file.

    Parameters
    ----------
    path
        The model file, which is written anew: its hash changes, its weights do not.
    document
        What ``everhart audit --json`` gives.

    Raises
    ------
    UsageError
        If there is no such file, or it is of another kind.
    FileFormatError
        If it is no model file.
    """
    import torch
    from safetensors import safe_open

    loaded = load_model(path, KIND)
    with safe_open(str(path), framework="pt") as file:
        half = all(file.get_tensor(name).dtype == torch.float16 for name in loaded.weights)
    said = {
        "audit": {name: document[name] for name in _SAID},
        "audited_sha256": document["model_hash"],
    }
    card = ModelCard.model_validate({**loaded.header.card.model_dump(), **said})
    header = loaded.header.model_copy(update={"card": card})
    dtype: Literal["float16", "float32"] = "float16" if half else "float32"
    save_model(path, header, loaded.weights, dtype=dtype, overwrite=True)
