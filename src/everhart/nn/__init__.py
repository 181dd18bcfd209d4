"""Networks and losses as plain torch modules."""

from everhart.nn.losses import (
    CharbonnierLoss,
    EdgeLoss,
    MSSSIMLoss,
    RMSELoss,
    SSIMLoss,
    WeightedLoss,
)
from everhart.nn.unet import UNet, UNetConfig

__all__ = [
    "CharbonnierLoss",
    "EdgeLoss",
    "MSSSIMLoss",
    "RMSELoss",
    "SSIMLoss",
    "UNet",
    "UNetConfig",
    "WeightedLoss",
]
