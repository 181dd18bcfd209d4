"""Networks and losses as plain torch modules."""

from everhart.nn.losses import (
    CharbonnierLoss,
    EdgeLoss,
    MSSSIMLoss,
    PSNRLoss,
    RMSELoss,
    SSIMLoss,
    WeightedLoss,
)
from everhart.nn.unet import UNet, UNetConfig

__all__ = [
    "CharbonnierLoss",
    "EdgeLoss",
    "MSSSIMLoss",
    "PSNRLoss",
    "RMSELoss",
    "SSIMLoss",
    "UNet",
    "UNetConfig",
    "WeightedLoss",
]
