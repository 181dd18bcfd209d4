"""The studies of the ReNIn paper, on a simulated wafer.

Networks trained with input dropout see less light in training than at use, and give another
gain and offset for it. Claims about them are therefore judged with grey levels matched (an affine
fit to the truth), and plain PSNR stands beside in the tables.

H. Bae, J. Byun, Y. Lee, T. Moon, "Efficient and robust SEM image denoising for wafer defect
inspection": relaxed Noise2Noise (the target is a mean of several frames) with input dropout.

The paper's wafer is not public; figures of it that are known here stand beside ours as
differences between rows, which is what can be compared. Each study is named after the table or
figure of the paper that asks the same question.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from everhart.studies.study import Ordering, Row, Study

__all__ = ["TABLES"]

RATIO = 0.6
"""Share of the pixels that the paper's input dropout zeroes."""

_RELAXED = 8
"""Frames of the relaxed target."""


def _renin(ratio: float = RATIO, patch_px: int = 1, **more: Any) -> dict[str, Any]:
    return {
        "recipe": "renin",
        "frames": {"target_frames": _RELAXED},
        "input_dropout": {"ratio": ratio, "patch_px": patch_px, **more},
    }


_N2N: Mapping[str, Any] = {"recipe": "n2n"}
_RN2N: Mapping[str, Any] = {"recipe": "rn2n", "frames": {"target_frames": _RELAXED}}
_SUPERVISED: Mapping[str, Any] = {"recipe": "supervised", "frames": {"target_frames": 64}}
_DROPPED_N2N: Mapping[str, Any] = {"recipe": "n2n", "input_dropout": {"ratio": RATIO}}
_RANDOM: Mapping[str, Any] = {"ratio_min": 0.0, "ratio_max": 0.8, "whole_share": 0.25}
_MILD: Mapping[str, Any] = {**_RANDOM, "whole_share": 0.5}
_FLIPPED: Mapping[str, Any] = {"target_frames": _RELAXED, "flips": True}
_ADAPTED: Mapping[str, Any] = {
    "recipe": "rn2n",
    "frames": _FLIPPED,
    "start_from": "sem-general",
    "normalisation": "image",
    "network": {"widths": [32, 64, 128, 256], "stem": 2, "output": "blend"},
    "optimiser": {"learning_rate": 3e-4, "steps": 300},
}


def _both(key: str, title: str, recipe: Mapping[str, Any], frames: int, **more: Any) -> list[Row]:
    """Return a row for each regime: ever new crops, and a few fixed ones."""
    return [
        Row(f"{key}", title, recipe=recipe, training_frames=frames, **more),
        Row(
            f"{key}-fixed",
            f"{title}, fixed crops",
            recipe=recipe,
            training_frames=frames,
            memorising=True,
            **more,
        ),
    ]


_TABLE_2 = Study(
    "renin-table2",
    "methods compared (Table 2)",
    rows=[
        Row("noisy", "noisy (F01)"),
        Row("median-f32", "median 3 x 3 (F32)", ("median", {"size_px": 3}), input_frames=32),
        Row("median-f01", "median 3 x 3 (F01)", ("median", {"size_px": 3})),
        Row("median-auto", "median, size by SURE (F01)", ("median", {})),
        Row("nlm", "non-local means (F01)", ("nlm", {})),
        Row("bm3d", "BM3D (F01)", ("bm3d", {})),
        *_both("n2v", "N2V", {"recipe": "n2v"}, 1),
        *_both("fbi", "FBI-denoiser", {"recipe": "fbi"}, 1, network="fbi_net"),
        *_both("n2n", "N2N", _N2N, 2),
        *_both("rn2n", "relaxed N2N (F08)", _RN2N, 1 + _RELAXED),
        *_both("supervised", "supervised (F64)", _SUPERVISED, 65),
        *_both("renin", "ReNIn", _renin(), 1 + _RELAXED),
        *_both("renin-random", "ReNIn, random ratio", _renin(**_RANDOM), 1 + _RELAXED),
    ],
    orderings=[
        Ordering("renin", "n2n", "different affine_psnr_db"),
        Ordering("renin-fixed", "n2n-fixed", "different affine_psnr_db", paper=5.99),
        Ordering("renin-fixed", "n2n-fixed", "different hough_failure_percent", paper=99.1),
        Ordering("renin-random-fixed", "n2n-fixed", "different affine_psnr_db"),
        Ordering("renin-random-fixed", "n2n-fixed", "different hough_failure_percent"),
        Ordering("renin-random", "n2n", "different affine_psnr_db"),
        Ordering("renin", "supervised", "normal affine_psnr_db", paper=-0.61, within=0.61),
        Ordering("renin-random", "supervised", "normal affine_psnr_db", within=0.61),
        Ordering("renin-fixed", "supervised-fixed", "normal affine_psnr_db", within=0.61),
        Ordering("renin-random-fixed", "supervised-fixed", "normal affine_psnr_db", within=0.61),
        Ordering("n2n", "n2v", "normal affine_psnr_db"),
        Ordering("n2n", "fbi", "normal affine_psnr_db"),
    ],
    pictures=(
        "noisy",
        "median-f32",
        "n2v",
        "n2n-fixed",
        "supervised-fixed",
        "renin-fixed",
        "renin-random-fixed",
    ),
)


def _places(places: list[int], ratio: float) -> dict[str, Any]:
    return {"network": {"dropout": {"after_blocks": places, "ratio": ratio}}}


_TABLE_1 = Study(
    "renin-table1",
    "dropout of the input against dropout in the layers of FBI-Net (Table 1)",
    rows=[
        Row("none", "no dropout", recipe=_RN2N, network="fbi_net", training_frames=9),
        Row("input", "input dropout", recipe=_renin(), network="fbi_net", training_frames=9),
        *(
            Row(
                f"d{place}",
                f"D{place} (in the layers)",
                recipe={**_RN2N, **_places([place], RATIO)},
                network="fbi_net",
                training_frames=9,
            )
            for place in range(1, 6)
        ),
    ],
    orderings=[Ordering("input", f"d{p}", "different affine_psnr_db") for p in range(1, 6)],
)

_TABLE_3 = Study(
    "renin-table3",
    "what the target costs and brings: frames of the relaxed target (Table 3)",
    rows=[
        *_both("f01", "F01 (N2N)", _N2N, 2),
        *(
            row
            for n in (2, 4, 8, 16, 32)
            for row in _both(
                f"f{n:02d}", f"F{n:02d}", {"recipe": "rn2n", "frames": {"target_frames": n}}, 1 + n
            )
        ),
        *_both("f64", "F64 (supervised)", _SUPERVISED, 65),
    ],
    orderings=[
        Ordering("f08", "f01", "normal affine_psnr_db"),
        Ordering("f08", "f64", "normal affine_psnr_db", within=0.61),
    ],
)

_TABLE_4 = Study(
    "renin-table4",
    "both parts of ReNIn and each alone, on both networks (Table 4)",
    rows=[
        Row(
            f"{name}-{network}",
            f"{title}, {network}",
            recipe=recipe,
            network=network,
            memorising=True,
            training_frames=frames,
        )
        for network in ("unet", "fbi_net")
        for name, title, recipe, frames in (
            ("n2n", "N2N", _N2N, 2),
            ("dropout", "N2N + input dropout", _DROPPED_N2N, 2),
            ("relaxed", "relaxed N2N", _RN2N, 1 + _RELAXED),
            ("renin", "ReNIn", _renin(), 1 + _RELAXED),
        )
    ],
    orderings=[
        Ordering(f"renin-{network}", f"{other}-{network}", "different affine_psnr_db")
        for network in ("unet", "fbi_net")
        for other in ("n2n", "dropout", "relaxed")
    ],
)

_TABLE_5 = Study(
    "renin-table5",
    "remedies for a test image outside of the training distribution (beside Table 5)",
    rows=[
        row
        for name, title, recipe in (
            ("renin", "ReNIn as written", _renin()),
            ("rescaled", "divided by the share kept", _renin(rescale=True)),
            ("random", "random ratio, a quarter whole", _renin(**_RANDOM)),
            ("plane", "mask as an input plane", _renin(mask_plane=True)),
            ("averaged", "mean over 8 masks at test", _renin(test_masks=8)),
        )
        for row in _both(name, title, recipe, 1 + _RELAXED)
    ],
)

_CANDIDATES: tuple[tuple[str, str, Mapping[str, Any]], ...] = (
    ("n2n", "N2N", _N2N),
    ("rn2n", "relaxed N2N (F08)", _RN2N),
    ("renin", "ReNIn", _renin()),
    ("random", "random ratio, a quarter whole", _renin(**_RANDOM)),
    ("flips", "random ratio, flips", {**_renin(**_RANDOM), "frames": _FLIPPED}),
    ("mild", "half whole, flips", {**_renin(**_MILD), "frames": _FLIPPED}),
    (
        "charbonnier",
        "random ratio, flips, Charbonnier",
        {**_renin(**_RANDOM), "frames": _FLIPPED, "loss": {"charbonnier": 1.0}},
    ),
    (
        "whole-charbonnier",
        "relaxed N2N, flips, Charbonnier",
        {**_RN2N, "frames": _FLIPPED, "loss": {"charbonnier": 1.0}},
    ),
    ("adapted", "sem-general adapted, flips", _ADAPTED),
    (
        "adapted-charbonnier",
        "sem-general adapted, flips, Charbonnier",
        {**_ADAPTED, "loss": {"charbonnier": 1.0}},
    ),
)

_RECIPE = Study(
    "renin-recipe",
    "past the paper: what beats ReNIn on the same frames",
    rows=[
        *(
            row
            for name, title, recipe in _CANDIDATES
            for row in _both(name, title, recipe, 2 if name == "n2n" else 1 + _RELAXED)
        ),
        Row("sem-general", "sem-general, as shipped", ("sem-general", {})),
    ],
    orderings=[
        Ordering(f"{name}{regime}", f"{other}{regime}", column)
        for name in ("random", "charbonnier", "adapted")
        for regime in ("", "-fixed")
        for other in ("renin", "rn2n")
        for column in ("different affine_psnr_db", "normal affine_psnr_db")
    ],
)

_FIG_9 = Study(
    "renin-fig9",
    "share of pixels that input dropout zeroes (Figure 9)",
    rows=[
        Row(
            f"ratio-{ratio:g}",
            f"ratio {ratio:g}",
            recipe=_renin(ratio) if ratio else _RN2N,
            memorising=True,
            training_frames=9,
        )
        for ratio in (0.0, 0.2, 0.4, 0.6, 0.8)
    ],
    orderings=[
        Ordering("ratio-0.6", f"ratio-{r:g}", "different affine_psnr_db")
        for r in (0.0, 0.2, 0.4, 0.8)
    ],
)

_FIG_10 = Study(
    "renin-fig10",
    "size of the patches that input dropout zeroes (Figure 10)",
    rows=[
        Row(
            f"patch-{patch}",
            f"patches of {patch} px",
            recipe=_renin(patch_px=patch),
            memorising=True,
            training_frames=9,
        )
        for patch in (1, 2, 4, 8, 16, 32, 64)
    ],
    orderings=[
        Ordering("patch-1", f"patch-{p}", "different affine_psnr_db") for p in (2, 4, 8, 16, 32, 64)
    ],
)

TABLES = (_TABLE_1, _TABLE_2, _TABLE_3, _TABLE_4, _TABLE_5, _FIG_9, _FIG_10, _RECIPE)
"""The studies on the simulated wafer."""
