"""Vendors' metadata: the pixel size, the data bar, the imaging conditions.

Each vendor writes its own tree in its own units. The tree is kept as it is; what most users
ask for is copied into one common tree, with the unit in each name:

``instrument, software, beam ("electron" or "ion"), beam_energy_kev, beam_current_pa,
dwell_time_s, line_integration, frame_integration, detector, signal, working_distance_mm,
magnification, tilt_corrected, exposure_time_s, operation_mode, spot_size, camera_length_mm,
emission_current_ua, acquisition_time`` and
``stage: {x_mm, y_mm, z_mm, rotation_deg, tilt_deg}``.

A value that is not known is left out.
"""

from __future__ import annotations

from everhart.io.vendors.values import VendorData

__all__ = ["VendorData"]
