"""Config of a denoiser's training: ``everhart train CONFIG.yaml``."""

from __future__ import annotations

import math
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from everhart.errors import unknown_name
from everhart.nn.losses import LOSSES
from everhart.restore.architectures import NetworkConfig, RestorationFBINetConfig
from everhart.restore.dropout import InputDropoutConfig
from everhart.restore.masking import MaskingConfig
from everhart.restore.sources import FramesConfig, SourceConfig
from everhart.restore.unet_config import RestorationUNetConfig
from everhart.training.config import OptimiserConfig

Recipe = Literal["supervised", "n2n", "rn2n", "renin", "n2v", "fbi"]

_POINTWISE = ("mse", "l1", "charbonnier")


class CardConfig(BaseModel):
    """What the config says for the model card."""

    model_config = ConfigDict(extra="forbid")

    name: str = "denoiser"
    summary: str = ""
    training_data: str = ""
    licence: str = ""
    limits: str = ""


class DenoiserConfig(BaseModel):
    """Config of a denoiser's training.

    The recipe says what is learned from what:

    ========== ====================================================================
    supervised noisy image -> clean image, or the mean of the most frames
    n2n        frame -> another frame of the same field (Noise2Noise)
    rn2n       frame -> mean of several other frames (relaxed Noise2Noise)
    renin      the same with dropout of the input (ReNIn)
    n2v        image with hidden pixels -> the hidden pixels (Noise2Void)
    fbi        image -> itself, by a network that is blind to a pixel's own value and the known
               statistics of Poisson-Gaussian noise (FBI-denoiser)
    ========== ====================================================================
    """

    model_config = ConfigDict(extra="forbid")

    task: Literal["denoise"] = "denoise"
    recipe: Recipe = Field("supervised", description="what is learned from what")
    seed: int = Field(0, ge=0, description="seed of weights and samples")
    data: list[SourceConfig] = Field(min_length=1, description="where samples come from")
    validation: list[SourceConfig] = Field(
        default_factory=list, description="where validation samples come from; may be empty"
    )
    validation_samples: int = Field(64, ge=1, description="number of validation samples")
    crop_px: int = Field(128, ge=32, description="edge of the training crops in pixels")
    normalisation: Literal["image", "range"] = Field(
        "image",
        description="image: by mean and deviation of the image; range: black is 0 and white 1, "
        "for frames of one converter",
    )
    start_from: str | None = Field(
        None, description="name or file of a trained model whose weights to start from"
    )
    network: NetworkConfig = Field(default_factory=RestorationUNetConfig)
    loss: dict[str, float] = Field(
        default={"charbonnier": 1.0},
        description="weights of the losses by name; mse by default where targets are noisy",
    )
    input_dropout: InputDropoutConfig | None = Field(
        None, description="dropout of the input in training; renin has it by default"
    )
    masking: MaskingConfig | None = Field(None, description="blind spots of n2v")
    optimiser: OptimiserConfig = Field(default_factory=OptimiserConfig)
    weights_dtype: Literal["float32", "float16"] = Field(
        "float32", description="precision of the stored weights"
    )
    card: CardConfig = Field(default_factory=CardConfig)

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_the_recipe(cls, given: Any) -> Any:
        """Fill in what goes without saying, so that the saved config says it."""
        if not isinstance(given, dict):
            return given
        recipe, out = given.get("recipe", "supervised"), dict(given)
        network = out.get("network", {})
        if isinstance(network, dict):
            network = {"kind": "fbi_net" if recipe == "fbi" else "unet", **network}
            if recipe == "fbi" and network["kind"] == "fbi_net":
                network = {"output": "anscombe", **network}
            dropout = out.get("input_dropout")
            if isinstance(dropout, dict) and dropout.get("mask_plane"):
                network = {"mask_plane": True, **network}
            out["network"] = network
        if recipe != "supervised":
            out.setdefault("loss", {"mse": 1.0})
        if recipe == "renin" and out.get("input_dropout") is None:
            out["input_dropout"] = {}
        if recipe == "n2v" and out.get("masking") is None:
            out["masking"] = {}
        return out

    @field_validator("loss")
    @classmethod
    def _known_losses(cls, loss: dict[str, float]) -> dict[str, float]:
        for name, weight in loss.items():
            if name not in LOSSES:
                raise ValueError(str(unknown_name("loss", name, LOSSES)))
            if weight < 0:
                raise ValueError(f"the weight of {name} is {weight}: give 0 or more")
        if not any(loss.values()):
            raise ValueError("give at least one loss a weight above 0")
        return loss

    @field_validator("crop_px")
    @classmethod
    def _even_crop(cls, crop: int) -> int:
        if crop % 32:
            raise ValueError("a crop is a multiple of 32 pixels, such as 128")
        return crop

    @model_validator(mode="after")
    def _crop_on_the_grid(self) -> Self:
        stride = self.network.stride
        if self.crop_px % stride:
            network = self.network
            shape = (
                f"stem {network.stem} and {len(network.widths)} widths"
                if isinstance(network, RestorationUNetConfig)
                else f"kind {network.kind}"
            )
            raise ValueError(
                f"crop_px = {self.crop_px} is no multiple of {stride} pixels, the grid of a "
                f"network with {shape}: "
                f"give {math.lcm(stride, 32)} or a multiple of it, or a network of fewer levels"
            )
        return self

    @model_validator(mode="after")
    def _parts_fit_the_recipe(self) -> Self:
        frames = all(isinstance(source, FramesConfig) for source in self.data)
        if self.recipe in ("n2n", "rn2n", "renin") and not any(
            isinstance(source, FramesConfig) for source in self.data
        ):
            raise ValueError(
                f"the recipe {self.recipe} learns from repeated frames: give data of the "
                "kind frames"
            )
        if self.normalisation == "range" and not (
            frames and all(isinstance(source, FramesConfig) for source in self.validation)
        ):
            raise ValueError("normalisation: range is for data of the kind frames alone")
        for source in self.data:
            frames_wanted = getattr(source, "target_frames", None) or _input_frames(source)
            if self.recipe == "n2n" and frames_wanted != _input_frames(source):
                raise ValueError(
                    f"n2n has targets like its inputs; with target_frames = {frames_wanted} it is "
                    "rn2n: give that recipe"
                )
        if self.input_dropout is not None and self.recipe in ("n2v", "fbi"):
            raise ValueError("input_dropout is for supervised, n2n, rn2n and renin: leave it out")
        if self.masking is not None and self.recipe != "n2v":
            raise ValueError("masking is for the recipe n2v: leave it out")
        if self.optimiser.keep_best and not self.validation:
            raise ValueError("optimiser.keep_best needs validation data to tell what is best")
        plane = self.input_dropout is not None and self.input_dropout.mask_plane
        if self.network.mask_plane != plane:
            raise ValueError("network.mask_plane and input_dropout.mask_plane go together")
        return self

    @model_validator(mode="after")
    def _loss_and_network_fit_the_recipe(self) -> Self:
        if self.recipe == "n2v" and (other := set(self.loss) - set(_POINTWISE)):
            raise ValueError(
                f"the loss {sorted(other)[0]} looks at more than single pixels, and n2v has its "
                f"targets at single pixels: give {', '.join(_POINTWISE)}"
            )
        network = self.network
        anscombe = isinstance(network, RestorationFBINetConfig) and network.output == "anscombe"
        if self.recipe == "fbi":
            if not anscombe or not network.blind_spot:  # type: ignore[union-attr]
                raise ValueError(
                    "the recipe fbi needs a network of kind fbi_net with blind_spot: true and "
                    "output: anscombe, which are its defaults"
                )
            if set(self.loss) != {"mse"}:
                raise ValueError("the recipe fbi estimates the mean squared error: leave loss out")
            if self.normalisation == "range":
                raise ValueError("the recipe fbi needs normalisation: image")
        elif anscombe:
            raise ValueError("output: anscombe is trained by the recipe fbi: give direct or affine")
        return self


def _input_frames(source: object) -> int:
    return source.input_frames if isinstance(source, FramesConfig) else 1
