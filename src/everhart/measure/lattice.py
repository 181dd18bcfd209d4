"""The lattice that objects sit on: pitches, rotation, placement, and sites without an object."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from everhart.errors import UsageError

__all__ = ["Lattice", "fit_lattice"]

Float = NDArray[np.float64]

_FEWEST = 6
_TOLERANCE = 0.25  # of the shorter pitch: what is further from its site is not on the lattice
_SHARE = 0.7  # of the objects that must be on it
_ALIKE = 1.05  # lengths that count as the same


@dataclass(frozen=True, eq=False)
class Lattice:
    """A two-dimensional lattice and the objects on it, in the unit of the positions.

    Parameters
    ----------
    origin
        ``(2,)``: y and x of the site (0, 0).
    a, b
        ``(2,)``: y and x of the two vectors. Of the shortest ones, `a` is the closest to the x
        axis; `b` is turned from it towards +y.
    a_sd, b_sd
        Standard deviations of their components.
    sites
        ``(n, 2)``: index along a and along b of each object; those of objects off the lattice are
        meaningless.
    member
        ``(n,)``: whether the object is on the lattice.
    residual
        ``(n, 2)``: how far each object is from its site, y and x.
    missing
        ``(m, 2)``: y and x of sites without an object that have objects around.
    """

    origin: Float
    a: Float
    b: Float
    a_sd: Float
    b_sd: Float
    sites: NDArray[np.intp]
    member: NDArray[np.bool_]
    residual: Float
    missing: Float

    @property
    def pitch_a(self) -> float:
        """Length of `a`."""
        return float(np.hypot(*self.a))

    @property
    def pitch_b(self) -> float:
        """Length of `b`."""
        return float(np.hypot(*self.b))

    @property
    def pitch_a_sd(self) -> float:
        """Standard deviation of the length of `a`."""
        return float(np.hypot(*(self.a * self.a_sd)) / self.pitch_a)

    @property
    def pitch_b_sd(self) -> float:
        """Standard deviation of the length of `b`."""
        return float(np.hypot(*(self.b * self.b_sd)) / self.pitch_b)

    @property
    def rotation_deg(self) -> float:
        """Direction of `a`, from +x towards +y, -90 to 90."""
        return float(np.degrees(np.arctan2(self.a[0], self.a[1])))

    @property
    def rotation_sd_deg(self) -> float:
        """Standard deviation of the direction of `a`."""
        across = np.array([self.a[1], -self.a[0]]) / self.pitch_a
        return float(np.degrees(np.hypot(*(across * self.a_sd)) / self.pitch_a))

    @property
    def angle_deg(self) -> float:
        """Angle from `a` to `b`, 0 to 180."""
        return float(np.degrees(np.arctan2(self.b[0], self.b[1])) - self.rotation_deg) % 360

    @property
    def angle_sd_deg(self) -> float:
        """Standard deviation of the angle from `a` to `b`."""
        across = np.array([self.b[1], -self.b[0]]) / self.pitch_b
        own = np.degrees(np.hypot(*(across * self.b_sd)) / self.pitch_b)
        return float(np.hypot(own, self.rotation_sd_deg))


def fit_lattice(positions: Float, occupied: Float | None = None) -> Lattice | None:
    """Fit a lattice to positions by least squares, with Tukey weights against strays.

    The vectors come from the differences between neighbours that most objects share; sites are
    numbered outwards from the middle, with the fit made anew on the way, so that no
    error adds up.

    Parameters
    ----------
    positions
        ``(n, 2)``: y and x, in any unit that is the same along both.
    occupied
        ``(m, 2)``: further objects, which do not count for the fit, but where no site is missing.

    Returns
    -------
    Lattice or None
        None for fewer than six objects, all in a row, or without a common lattice. A site is
        missing if it is within the hull of the objects on the lattice; one at a corner of
        the array is outside of it, and not told from the array's end.

    Raises
    ------
    UsageError
        If the positions are not ``(n, 2)``.

    Examples
    --------
    >>> i, j = np.mgrid[:4, :5].reshape(2, -1)
    >>> points = np.stack([30.0 * i + 3, 40.0 * j + 7], axis=1)
    >>> found = fit_lattice(np.delete(points, 7, axis=0))
    >>> round(found.pitch_a, 3), round(found.pitch_b, 3), found.missing.round(3).tolist()
    (40.0, 30.0, [[33.0, 87.0]])
    """
    points = np.asarray(positions, np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise UsageError(f"Positions of shape {points.shape} were given: give (n, 2), y and x.")
    if len(points) < _FEWEST:
        return None
    vectors = _shared_vectors(points)
    if vectors is None:
        return None
    numbered = _number(points, np.stack(vectors, axis=1))
    if numbered is None:
        return None
    sites, fit = numbered
    weight = np.ones(len(points))
    design = np.concatenate([np.ones((len(points), 1)), sites], axis=1)
    short = min(float(np.hypot(*v)) for v in vectors)
    for _ in range(20):
        root = np.sqrt(weight)[:, None]
        fit = np.linalg.lstsq(design * root, points * root, rcond=None)[0]
        residual = points - design @ fit
        away = np.hypot(residual[:, 0], residual[:, 1])
        member = (away < _TOLERANCE * short) & _first_of_site(sites, away)
        if member.sum() < max(_FEWEST, _SHARE * len(points)):
            return None
        spread = max(1.4826 * float(np.median(away[member])), 1e-9 * short)
        weight = np.square(np.maximum(1 - np.square(away / (4.7 * spread)), 0)) * member
    used = design[member]
    if np.linalg.matrix_rank(used) < 3:
        return None
    variance = np.square(residual[member]).sum(axis=0) / max(int(member.sum()) - 3, 1)
    inverse = np.linalg.inv(used.T @ used)
    sd = np.sqrt(np.diag(inverse)[:, None] * variance)
    others = points[~member]
    if occupied is not None and len(occupied):
        others = np.concatenate([others, np.asarray(occupied, np.float64)])
    missing = _missing(sites[member], fit, others, _TOLERANCE * short)
    return Lattice(
        fit[0], fit[1], fit[2], sd[1], sd[2], sites, member, residual, missing
    )  # fmt: skip


def _shared_vectors(points: Float) -> tuple[Float, Float] | None:
    """Return two short vectors that many neighbours have between them."""
    from scipy.spatial import cKDTree

    near = min(len(points), 9)
    distance, index = (np.asarray(a) for a in cKDTree(points).query(points, k=near))
    usual = float(np.median(distance[:, 1]))
    vectors = (points[index[:, 1:]] - points[:, None]).reshape(-1, 2)
    vectors = vectors[np.hypot(vectors[:, 0], vectors[:, 1]) < 3 * usual]
    # A vector and its opposite are one: into the half plane of positive x.
    vectors = np.where(vectors[:, 1:] < -1e-3 * usual, -vectors, vectors)
    vectors = np.where(
        (np.abs(vectors[:, 1:]) <= 1e-3 * usual) & (vectors[:, :1] < 0), -vectors, vectors
    )
    found: list[Float] = []
    tree = cKDTree(np.concatenate([vectors, -vectors]))
    both = np.concatenate([vectors, -vectors])
    for start in vectors[np.argsort(np.hypot(vectors[:, 0], vectors[:, 1]), kind="stable")]:
        if any(min(np.hypot(*(start - f)), np.hypot(*(start + f))) < 0.3 * usual for f in found):
            continue
        mean = start
        for _ in range(5):
            alike = tree.query_ball_point(mean, 0.2 * usual)
            mean = both[alike].mean(axis=0)
        if len(alike) >= max(0.5 * len(points), 3):
            found.append(mean)
    if not found:
        return None
    found.sort(key=lambda v: float(np.hypot(*v)))
    other = next((v for v in found if not _parallel(found[0], v)), None)
    if other is None:
        return None
    # The shortest two that are not parallel, and in a hexagonal lattice the third that is as long.
    short = [v for v in found if np.hypot(*v) < _ALIKE * np.hypot(*other)]
    a = min(short, key=lambda v: float(abs(np.arctan2(v[0], abs(v[1])))))
    a = a if a[1] >= 0 else -a
    rest = [v if _cross(a, v) > 0 else -v for v in found if not _parallel(a, v)]
    # From a towards +y, and the acute one of those that are as long.
    rest = [v for v in rest if np.hypot(*v) < _ALIKE * np.hypot(*rest[0])]
    return a, max(rest, key=lambda v: float(v @ a))


def _parallel(a: Float, b: Float) -> bool:
    return abs(_cross(a, b)) < 0.3 * float(np.hypot(*a) * np.hypot(*b))


def _cross(a: Float, b: Float) -> float:
    """Return the turn from a to b, both (y, x); positive from +x towards +y."""
    return float(a[1] * b[0] - a[0] * b[1])


def _number(points: Float, vectors: Float) -> tuple[NDArray[np.intp], Float] | None:
    """Give each object the numbers of its site, outwards from the object in the middle."""
    middle = points[np.argmin(np.square(points - np.median(points, axis=0)).sum(axis=1))]
    away = np.hypot(*(points - middle).T)
    short = float(np.hypot(*vectors).min())
    fit = np.concatenate([middle[None], vectors.T])
    reach = 2.5 * float(np.hypot(*vectors).max())
    while True:
        place = np.linalg.solve(fit[1:].T, (points - fit[0]).T).T
        sites = np.rint(place).astype(np.intp)
        residual = points - fit[0] - sites @ fit[1:]
        close = (away < reach) & (np.hypot(residual[:, 0], residual[:, 1]) < _TOLERANCE * short)
        design = np.concatenate([np.ones((len(points), 1)), sites], axis=1)[close]
        if len(design) >= 4 and np.linalg.matrix_rank(design) == 3:
            fit = np.linalg.lstsq(design, points[close], rcond=None)[0]
        elif reach > away.max():
            return None
        if reach > away.max():
            break
        reach *= 1.5
    place = np.linalg.solve(fit[1:].T, (points - fit[0]).T).T
    return np.rint(place).astype(np.intp), fit


def _first_of_site(sites: NDArray[np.intp], away: Float) -> NDArray[np.bool_]:
    """Say which object is the closest to its site."""
    order = np.lexsort((away, sites[:, 1], sites[:, 0]))
    ordered = sites[order]
    new = np.ones(len(sites), bool)
    new[1:] = (np.diff(ordered, axis=0) != 0).any(axis=1)
    first = np.zeros(len(sites), bool)
    first[order] = new
    return first


def _missing(sites: NDArray[np.intp], fit: Float, others: Float, reach: float) -> Float:
    """Return the places of empty sites within the hull of the sites that have an object."""
    from scipy.spatial import ConvexHull, QhullError

    try:
        equations = ConvexHull(sites.astype(np.float64)).equations
    except QhullError:
        return np.zeros((0, 2))
    low, high = sites.min(axis=0), sites.max(axis=0)
    grid = np.stack(
        np.meshgrid(*(np.arange(a, b + 1) for a, b in zip(low, high, strict=True)), indexing="ij"),
        axis=-1,
    ).reshape(-1, 2)
    within = (grid @ equations[:, :2].T + equations[:, 2] < 1e-6).all(axis=1)
    taken = {(int(i), int(j)) for i, j in sites}
    empty = np.array([s for s in grid[within] if (int(s[0]), int(s[1])) not in taken])
    if not len(empty):
        return np.zeros((0, 2))
    places = fit[0] + empty @ fit[1:]
    if len(others):
        apart = np.hypot(*(places[:, None] - others[None]).transpose(2, 0, 1))
        places = places[apart.min(axis=1) > reach]
    return np.asarray(places, np.float64)
