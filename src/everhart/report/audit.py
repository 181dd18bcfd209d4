"""The audit of a generator as one HTML file that needs nothing else."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from everhart.report.html import environment
from everhart.report.pictures import data_uri, overview, to_grey

if TYPE_CHECKING:
    from everhart.synthesize.audit import Audit
    from everhart.synthesize.feature_distances import Share

__all__ = ["render_audit_html", "write_audit_html"]

Float32 = NDArray[np.float32]

_SHOWN: Final = 12
_PAIRS: Final = 6
_PICTURE_PX: Final = 256

_WORDS: Final = {
    "grey levels": "Wasserstein distance between the grey levels of both sets.",
    "power spectrum": "Difference of the mean radial power spectra: sharpness, pitch and grain.",
    "noise correlation": "Level and correlation of the finest detail along the scan lines.",
    "patches": "Sliced Wasserstein distance of patches at two scales: textures and edges.",
    "network features": "Fréchet distance of the coarse features of a denoiser, which see shapes.",
}
_PRECISION: Final = (
    "Precision and recall",
    "By the same features: the share of the synthetic images that lie among real ones, and of the "
    "real ones that lie among synthetic ones. Few images never cover all: beside them stands what "
    "halves of the real images reach against each other, with the range of 95 % of such halves.",
)
_SIZES: Final = (
    "Measured sizes",
    "Wasserstein distance of the distribution over all images. Its ratio is no part of the "
    "geometric mean. An image that cannot be measured is in no distribution, but is counted.",
)


def render_audit_html(
    found: Audit,
    made: Sequence[Float32],
    learned: Sequence[Float32],
    held_out: Sequence[Float32],
    *,
    name: str,
    facts: Mapping[str, str],
) -> str:
    """Return an audit as the text of a self-contained HTML page.

    Parameters
    ----------
    found
        What :func:`everhart.synthesize.audit.audit` gave.
    made, learned, held_out
        The images that it was given.
    name
        Name of the generator.
    facts
        How the report was made.

    Returns
    -------
    str
        HTML with styles and pictures in it; it loads nothing from anywhere.
    """
    low, high = np.percentile(np.stack(list(learned)), (0.1, 99.9))
    window = (float(low), float(high) if high > low else float(low) + 1)
    copies = set(found.copies.copies)
    alike = np.argsort(-found.copies.fine, kind="stable")
    # Copies by their structure alone are none of the most alike in detail, and must be seen, too.
    first = [*(n for n in alike.tolist() if n in copies), *alike.tolist()]
    pairs = [
        {
            "made": _picture(made[n], window, f"synthetic {n}"),
            "learned": _picture(
                learned[nearest := int(found.copies.nearest[n])], window, f"learned {nearest}"
            ),
            "is_copy": n in copies,
            "fine": f"{found.copies.fine[n]:.2f}",
        }
        for n in list(dict.fromkeys(first))[:_PAIRS]
    ]
    return (
        environment()
        .get_template("audit.html")
        .render(
            name=name,
            verdict=_verdict(found),
            rows=_rows(found),
            words=_words(found),
            sizes=found.sizes,
            size_rows=_size_rows(found),
            unmeasured=_unmeasured(found),
            made=[_picture(image, window, f"synthetic {n}") for n, image in _some(made)],
            real=[_picture(image, window, f"real {n}") for n, image in _some(held_out)],
            pairs=pairs,
            fine_limit=f"{found.copies.fine_limit:.2f}",
            counts=(len(made), len(learned), len(held_out)),
            facts=facts,
        )
    )


def write_audit_html(
    found: Audit,
    made: Sequence[Float32],
    learned: Sequence[Float32],
    held_out: Sequence[Float32],
    path: str | os.PathLike[str],
    *,
    name: str,
    facts: Mapping[str, str],
    overwrite: bool = False,
) -> Path:
    """Write an audit as one self-contained HTML file; see :func:`render_audit_html`.

    Raises
    ------
    UsageError
        If it exists and `overwrite` is false, or its folder does not exist.
    """
    from everhart.io.atomic import check_output, write_text

    check_output(path, overwrite=overwrite)
    text = render_audit_html(found, made, learned, held_out, name=name, facts=facts)
    return write_text(path, text, overwrite=overwrite)


def _some(images: Sequence[Float32]) -> list[tuple[int, Float32]]:
    return list(enumerate(images))[:_SHOWN]


def _picture(image: Float32, window: tuple[float, float], name: str) -> dict[str, Any]:
    grey = to_grey(overview(image, _PICTURE_PX), window)
    return {"uri": data_uri(grey), "width": grey.shape[1], "height": grey.shape[0], "name": name}


def _verdict(found: Audit) -> str:
    count = len(found.copies.copies)
    copies = (
        "No image is a copy" if not count else f"{count} of {len(found.copies.fine)} are copies"
    )
    if not found.ratios_count:
        return (
            f"{copies}, and the images vary {found.copies.diversity:.2f} times as much as real "
            "ones: the distances below mean nothing, as copies of real images would score best."
        )
    return (
        f"{copies}. The synthetic images are {found.geometric_mean:.2f} times as far from real "
        "ones as real ones from each other, and a classifier tells them apart with an AUC of "
        f"{found.auc:.2f} (0.5: not at all, 1: always)."
        + (
            ""
            if found.auc_features is None
            else f" By their shapes, as a denoiser sees them, it is {found.auc_features:.2f}."
        )
    )


def _rows(found: Audit) -> list[dict[str, str]]:
    """Return the figures, each beside that of real images."""
    copies = f"{100 * found.copies.share:.1f} %"
    plain = [
        (
            f"Geometric mean of the {len(found.ratios)} distances",
            f"{found.geometric_mean:.2f}",
            "1",
        ),
        ("Real or synthetic? (AUC)", f"{found.auc:.2f}", "0.5"),
        *(
            []
            if found.auc_features is None
            else [
                (
                    "The same by shapes, with a network's features",
                    f"{found.auc_features:.2f}",
                    "0.5",
                )
            ]
        ),
        *(
            (f"{title} (network features)", f"{s.value:.2f}", _share_words(s))
            for title, s in (("Precision", found.precision), ("Recall", found.recall))
            if s is not None
        ),
        (
            "Standard deviation of the noise, over that of real images",
            f"{found.noise_ratio:.3f}",
            "1",
        ),
        ("Copies", copies, "0 %"),
        ("Diversity, over that of real images", f"{found.copies.diversity:.2f}", "1"),
    ]
    rows = [
        {
            "title": f"Distance: {r.name}",
            "value": f"{r.value:.2f}",
            "interval": f"{r.low:.2f} to {r.high:.2f}",
            "real": "1",
        }
        for r in found.ratios
    ]
    return rows + [{"title": t, "value": v, "interval": "", "real": real} for t, v, real in plain]


def _share_words(share: Share) -> str:
    return f"{share.real:.2f} ({share.low:.2f} to {share.high:.2f})"


def _words(found: Audit) -> list[tuple[str, str]]:
    words = [(r.name, _WORDS.get(r.name, "")) for r in found.ratios]
    if found.precision is not None:
        words.append(_PRECISION)
    if found.sizes is not None:
        words.append(_SIZES)
    return words


def _size_rows(found: Audit) -> list[dict[str, str]]:
    """Return the measured quantities, each of both sets."""
    from everhart.synthesize.sizes import mean_words

    return [
        {
            "title": s.name,
            "made": f"{mean_words(s.made)} ({s.made[2]})",
            "real": f"{mean_words(s.real)} ({s.real[2]})",
            "value": "–" if s.ratio is None else f"{s.ratio.value:.2f}",
            "interval": "" if s.ratio is None else f"{s.ratio.low:.2f} to {s.ratio.high:.2f}",
        }
        for s in (() if found.sizes is None else found.sizes.sizes)
    ]


def _unmeasured(found: Audit) -> list[str]:
    """Return why synthetic images could not be measured, each reason with its images."""
    reasons: dict[str, list[int]] = {}
    for number, why in (found.sizes.reasons if found.sizes is not None else {}).items():
        reasons.setdefault(why, []).append(number)
    return [f"{', '.join(map(str, numbers))}: {why}" for why, numbers in reasons.items()]
