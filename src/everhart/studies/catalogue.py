"""The studies by name."""

from __future__ import annotations

from collections.abc import Mapping

from everhart.errors import unknown_name
from everhart.studies.correlation import CorrelationStudy
from everhart.studies.defects import DefectStudy
from everhart.studies.losses import LOSS_STUDIES
from everhart.studies.renin import TABLES
from everhart.studies.segment import PretrainingStudy
from everhart.studies.segment_features import FeatureStudy
from everhart.studies.segment_magnification import MagnificationStudy
from everhart.studies.study import AnyStudy
from everhart.studies.synthesis import FewImagesStudy
from everhart.studies.synthesis_downstream import DownstreamStudy
from everhart.studies.synthesis_fidelity import FidelityStudy
from everhart.studies.synthesis_guidance import GuidanceStudy
from everhart.studies.synthesis_inpaint import InpaintStudy
from everhart.studies.synthesis_memory import MemoryStudy
from everhart.studies.synthesis_recipes import RECIPE_STUDIES
from everhart.studies.synthesis_transfer import TransferStudy

__all__ = ["STUDIES", "find_study"]

_ALL: tuple[AnyStudy, ...] = (
    *TABLES,
    CorrelationStudy(),
    DefectStudy(),
    *LOSS_STUDIES,
    FewImagesStudy(),
    *RECIPE_STUDIES,
    MemoryStudy(),
    TransferStudy(),
    GuidanceStudy(),
    FidelityStudy(),
    InpaintStudy(),
    DownstreamStudy(),
    PretrainingStudy(),
    FeatureStudy(),
    MagnificationStudy(),
)

STUDIES: Mapping[str, AnyStudy] = {study.name: study for study in _ALL}


def find_study(name: str) -> AnyStudy:
    """Return a study by its name.

    Raises
    ------
    UsageError
        For an unknown name, offering the nearest known one.
    """
    if name not in STUDIES:
        raise unknown_name("study", name, STUDIES)
    return STUDIES[name]
