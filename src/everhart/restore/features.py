"""What a shipped denoiser sees in images: features for telling sets of images apart."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from everhart.restore.architectures import RestorationUNet, network_from_header
from everhart.restore.models import find_model
from everhart.restore.network import KIND
from everhart.training.model_file import load_model

__all__ = ["pooled_features"]

Image = NDArray[np.float32]
Float = NDArray[np.float64]

_MODEL = "sem-general"
_COARSE = 2
"""Levels, the coarsest ones: at an eighth and a sixteenth of the resolution."""

_GAIN = 2.5
"""Images with grey levels of about -1 to 1 have a standard deviation of about 1 over this."""


def pooled_features(images: Sequence[Image]) -> Float:
    """Return mean and standard deviation of the coarse feature maps of a denoiser's encoder.

    It has learned what shapes are beneath noise: what spectra and grey levels do not tell of a set
    of images, these do. The fine maps, which see the grain, are left out.

    Parameters
    ----------
    images
        Images ``(H, W)`` on one grey scale of about -1 to 1.

    Returns
    -------
    ndarray
        ``(images, features)``.

    Notes
    -----
    As the features of a classifier of photographs in [1]_, of a network that knows micrographs.

    References
    ----------
    .. [1] M. Heusel et al., "GANs trained by a two time-scale update rule converge to a local Nash
       equilibrium", NeurIPS 2017, section 3.
    """
    loaded = load_model(find_model(_MODEL), KIND)
    network = network_from_header(loaded.header.architecture, loaded.header.config)
    assert isinstance(network, RestorationUNet)
    network.load_state_dict(loaded.weights)
    unet, stride = network.unet.eval(), network.stride
    rows = []
    with torch.no_grad():
        for image in images:
            x = _GAIN * torch.from_numpy(np.asarray(image, np.float32))[None, None]
            down, right = (-n % stride for n in x.shape[-2:])
            seen = unet.unshuffle(F.pad(x, (0, right, 0, down), mode="replicate"))
            pooled = []
            for level, encode in enumerate(unet.encoders):
                seen = encode(seen if level == 0 else unet.pool(seen))
                if level < len(unet.encoders) - _COARSE:
                    continue
                pooled += [seen.mean(dim=(-2, -1))[0], seen.std(dim=(-2, -1), correction=0)[0]]
            rows.append(torch.cat(pooled).double().numpy())
    return np.stack(rows)
