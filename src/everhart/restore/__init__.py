"""Restoration: classical denoisers, learned denoisers, and the recipes that train them."""

from everhart.restore.denoise import Denoiser, denoise, make_denoiser
from everhart.restore.names import CLASSICAL, SHIPPED

__all__ = ["CLASSICAL", "SHIPPED", "Denoiser", "denoise", "make_denoiser"]
