"""Networks and losses as plain torch modules.

Names are looked up when they are used: the shapes of networks can be had without torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from everhart.nn.fbi_net import FBINet, FBINetConfig
    from everhart.nn.losses import (
        CharbonnierLoss,
        EdgeLoss,
        MSSSIMLoss,
        PSNRLoss,
        RMSELoss,
        SSIMLoss,
        WeightedLoss,
    )
    from everhart.nn.n2n_unet import N2NUNet, N2NUNetConfig
    from everhart.nn.pge_net import PGENet, PGENetConfig
    from everhart.nn.unet import UNet
    from everhart.nn.unet_config import UNetConfig

_MODULE_OF = {
    "CharbonnierLoss": "losses",
    "EdgeLoss": "losses",
    "FBINet": "fbi_net",
    "FBINetConfig": "fbi_net",
    "MSSSIMLoss": "losses",
    "N2NUNet": "n2n_unet",
    "N2NUNetConfig": "n2n_unet",
    "PGENet": "pge_net",
    "PGENetConfig": "pge_net",
    "PSNRLoss": "losses",
    "RMSELoss": "losses",
    "SSIMLoss": "losses",
    "UNet": "unet",
    "UNetConfig": "unet_config",
    "WeightedLoss": "losses",
}

__all__ = [
    "CharbonnierLoss",
    "EdgeLoss",
    "FBINet",
    "FBINetConfig",
    "MSSSIMLoss",
    "N2NUNet",
    "N2NUNetConfig",
    "PGENet",
    "PGENetConfig",
    "PSNRLoss",
    "RMSELoss",
    "SSIMLoss",
    "UNet",
    "UNetConfig",
    "WeightedLoss",
]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'everhart.nn' has no attribute {name!r}")
    return getattr(import_module(f"everhart.nn.{_MODULE_OF[name]}"), name)
