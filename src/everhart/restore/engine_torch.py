"""PyTorch as the engine of a learned denoiser: any network, any device."""

from __future__ import annotations

import torch
from safetensors.torch import load

from everhart.nn.hardware import resolve_device, use_bf16
from everhart.restore.architectures import RestorationNetwork, network_from_header
from everhart.restore.engine import Planes, WindowFunction
from everhart.training.model_header import ModelHeader


class TorchEngine:
    """A torch network, ready to run; an :class:`everhart.restore.engine.Engine`.

    Parameters
    ----------
    network
        The trained network.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    precision
        ``"auto"``, ``"fp32"`` or ``"bf16"``; see :func:`everhart.nn.hardware.use_bf16`.
    """

    def __init__(
        self, network: RestorationNetwork, *, device: str = "auto", precision: str = "auto"
    ) -> None:
        self.device = resolve_device(device)
        self.bf16 = use_bf16(precision, self.device)
        self.network = network.to(self.device).eval()
        self.network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.stride, self.receptive_radius = network.stride, network.receptive_radius
        self.mask_plane = network.mask_plane
        self.bytes_per_pixel = network.maps_per_pixel * (2 if self.bf16 else 4) + 12

    @classmethod
    def from_file(
        cls, header: ModelHeader, data: bytes, *, device: str, precision: str
    ) -> TorchEngine:
        """Make the network of a model file.

        Raises
        ------
        ValueError, KeyError, RuntimeError
            If the weights do not fit the header.
        """
        network = network_from_header(header.architecture, header.config)
        network.load_state_dict({name: tensor.float() for name, tensor in load(data).items()})
        return cls(network, device=device, precision=precision)

    @torch.inference_mode()
    def on(self, image: Planes) -> WindowFunction:
        """Return the function for the windows of one normalised, padded image ``(H, W)``."""
        with self._autocast():
            known = self.network.know(torch.from_numpy(image)[None, None].to(self.device))

        @torch.inference_mode()
        def restored(planes: Planes) -> Planes:
            batch = torch.from_numpy(planes)[None].to(self.device)
            with self._autocast():
                out = self.network(batch, known)
            window: Planes = out[0, 0].float().cpu().numpy()
            return window

        return restored

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device, torch.bfloat16, enabled=self.bf16)
