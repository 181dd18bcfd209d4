import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import everhart as eh
from everhart.errors import UsageError
from everhart.simulate import SCENES, simulate
from everhart.simulate.defects import DEFECT_KINDS
from everhart.simulate.roughness import palasantzas_psd, rough_edges

NAMES = tuple(SCENES)


@pytest.mark.parametrize("name", NAMES)
def test_a_seed_makes_the_same_scene_again(name):
    a, b = (simulate(name, shape=(128, 160), seed=5) for _ in range(2))
    c = simulate(name, shape=(128, 160), seed=6)
    np.testing.assert_array_equal(a.image, b.image)
    assert not np.array_equal(a.image, c.image)
    for table in a.truth.tables:
        assert a.truth.tables[table].equals(b.truth.tables[table])


@pytest.mark.parametrize("name", NAMES)
def test_what_a_scene_is(name):
    scene = eh.simulate(name, shape=(150, 200), seed=0)  # the room itself is called
    assert scene.image.dtype == np.float32
    assert scene.image.shape == scene.shape == scene.truth.labels.shape == (150, 200)
    assert scene.image.min() >= 0
    assert scene.image.max() <= 1
    assert scene.image.std() > 0.02
    assert scene.truth.labels.dtype == np.int32
    assert scene.name == name
    assert len(scene.truth.defects) == 0
    nm = scene.pixel_size_nm[0]
    for table in scene.truth.tables.values():
        for column in table.columns:
            if column.endswith("_px") and f"{column[:-3]}_nm" in table:
                np.testing.assert_allclose(table[column] * nm, table[f"{column[:-3]}_nm"])


@given(
    name=st.sampled_from(NAMES),
    height=st.integers(40, 120),
    width=st.integers(40, 120),
    seed=st.integers(0, 1000),
)
@settings(max_examples=25, deadline=None)
def test_any_shape(name, height, width, seed):
    scene = simulate(name, shape=(height, width), seed=seed)
    assert scene.image.shape == (height, width)
    assert np.isfinite(scene.image).all()


# -- lines --------------------------------------------------------------------------------


def plain_lines(**parameters):
    return simulate(
        "lines", shape=(200, 300), seed=3, pixel_size_nm=1.0, cd_nm=17.3, pitch_nm=40.7,
        edge_level=0.0, shadow=0.0, texture=0.0, line_level=0.8, space_level=0.3, **parameters,
    )  # fmt: skip


def test_edges_are_in_the_image_where_the_truth_says():
    scene = plain_lines(sigma_nm=1.5)
    share = (scene.image - 0.3) / 0.5  # how much of each pixel is line
    for line, whole in enumerate(scene.truth.tables["lines"]["complete"]):
        left, right = scene.truth.edges_px[2 * line : 2 * line + 2]
        if not whole or left.min() < 3 or right.max() > 296:
            continue
        for row in (0, 77, 199):
            a, b = int(left[row]) - 5, int(right[row]) + 6
            a = max(a, 0)
            part = share[row, a:b]
            assert part.sum() == pytest.approx(right[row] - left[row], abs=2e-3)
            # The centre of mass of a bar is its middle (pixel centres are at integers), to the
            # 1/8 px over the width by which cut pixels count at their centres.
            middle = (part * np.arange(a, a + part.size)).sum() / part.sum()
            assert middle == pytest.approx((left[row] + right[row]) / 2, abs=0.015)


def test_line_labels_are_the_edges_rounded():
    scene = plain_lines(sigma_nm=1.0)
    edges = scene.truth.edges_px
    inside = np.zeros(scene.shape, bool)
    x = np.arange(scene.shape[1])
    for left, right in zip(edges[0::2], edges[1::2], strict=True):
        inside |= (x >= left[:, None]) & (x < right[:, None])
    np.testing.assert_array_equal(scene.truth.labels == 1, inside)


def test_cd_and_pitch_are_those_asked_for():
    scene = plain_lines(sigma_nm=0.0)
    edges = scene.truth.edges_px
    np.testing.assert_allclose(edges[1::2] - edges[0::2], 17.3)
    np.testing.assert_allclose(np.diff(edges[0::2], axis=0), 40.7)


@pytest.mark.parametrize("correlation", [-0.6, 0.0, 0.8])
def test_roughness_has_its_sigma_and_correlations(correlation):
    rng = np.random.default_rng(0)
    sigma, length = 2.0, 12.0
    edges = rough_edges(
        3000, 300, rng, sigma=sigma, correlation_length=length, hurst=0.5,
        pair_correlation=correlation,
    )  # fmt: skip
    assert edges.std() == pytest.approx(sigma, rel=0.02)
    pairs = np.mean(edges[0::2] * edges[1::2]) / sigma**2
    assert pairs == pytest.approx(correlation, abs=0.02)
    # For H = 1/2 the autocorrelation is exp(-lag / xi).
    for lag in (6, 12, 24):
        found = np.mean(edges[:, lag:] * edges[:, :-lag]) / sigma**2
        assert found == pytest.approx(np.exp(-lag / length), abs=0.025)


def test_roughness_has_the_palasantzas_spectrum():
    rng = np.random.default_rng(1)
    edges = rough_edges(4000, 512, rng, sigma=1.5, correlation_length=10.0, hurst=0.8)
    window = np.hanning(512)
    power = (np.abs(np.fft.rfft(edges * window)) ** 2).mean(axis=0) * 2 / (window**2).sum()
    frequency = np.fft.rfftfreq(512)
    some = slice(4, 120)
    wanted = palasantzas_psd(frequency, 1.5, 10.0, 0.8)
    np.testing.assert_allclose(power[some], wanted[some], rtol=0.2)


def test_psd_integrates_to_the_variance():
    from scipy.integrate import quad

    for hurst in (0.3, 0.7, 1.0):
        area, _ = quad(lambda f, h=hurst: palasantzas_psd(f, 2.0, 5.0, h), 0, np.inf, limit=400)
        assert area == pytest.approx(4.0, rel=1e-3)


# -- nand ---------------------------------------------------------------------------------


def test_the_default_array_has_108_holes():
    from everhart.simulate.nand import _lattice

    reach = 98 / 0.6 / 2 + 6 / 0.6
    assert len(_lattice((2048, 3072), 146 / 0.6, reach)) == 108
    assert len(simulate("nand", shape=(512, 768), seed=0).truth.tables["holes"]) == 108


@pytest.mark.parametrize("kind", ["normal", "oval", "dented", "faint-ring"])
def test_hole_truth_is_what_the_labels_show(kind):
    scene = simulate("nand", shape=(600, 700), pixel_size_nm=1.0, kind=kind, seed=2)
    holes = scene.truth.tables["holes"]
    assert set(holes["kind"]) == {kind}
    for hole in holes.itertuples():
        ys, xs = np.nonzero(scene.truth.labels == hole.label)
        assert ys.size == pytest.approx(np.pi / 4 * hole.diameter_px**2, rel=0.01)
        assert ys.mean() == pytest.approx(hole.y_px, abs=0.1)
        assert xs.mean() == pytest.approx(hole.x_px, abs=0.1)
    ratio = holes["minor_px"] / holes["major_px"]
    assert (ratio.max() < 0.87) if kind == "oval" else (ratio.min() > 0.85)
    assert (holes["ring_contrast"].max() < 0.04) == (kind == "faint-ring")


def test_holes_are_dark_with_bright_rims():
    scene = simulate("nand", shape=(400, 400), pixel_size_nm=1.0, seed=1)
    holes = scene.truth.tables["holes"]
    for hole in holes.itertuples():
        row = round(hole.y_px)
        middle = scene.image[row, round(hole.x_px)]
        edge = round(hole.x_px + hole.diameter_px / 2)
        assert scene.image[row, edge - 3 : edge + 4].max() > middle + 0.3


# -- particles and stack ------------------------------------------------------------------


def test_spheres_are_where_the_truth_says():
    scene = simulate("particles", shape=(300, 400), seed=4, overlap=0.0)
    table = scene.truth.tables["particles"]
    whole = table[table["complete"] & (table["visible"] > 0.999) & (table["diameter_px"] > 8)]
    assert len(whole) > 10
    for ball in whole.itertuples():
        ys, xs = np.nonzero(scene.truth.labels == ball.label)
        assert ys.size == pytest.approx(np.pi / 4 * ball.diameter_px**2, rel=0.01, abs=12)
        assert ys.mean() == pytest.approx(ball.y_px, abs=0.25)
        assert xs.mean() == pytest.approx(ball.x_px, abs=0.25)


def test_spheres_shine_at_their_edges():
    scene = simulate(
        "particles", shape=(400, 400), seed=4, overlap=0.0, shading=0.0, facets=0.0,
        median_diameter_nm=500, sigma_log=0.1,
    )  # fmt: skip
    table = scene.truth.tables["particles"]
    ball = table[table["complete"] & (table["visible"] > 0.999)].iloc[0]
    y, x = np.indices(scene.shape)
    away = np.hypot(y - ball.y_px, x - ball.x_px) / (ball.diameter_px / 2)
    ring = scene.image[(away > 0.85) & (away < 0.95)].mean()
    assert ring > 1.05 * scene.image[away < 0.3].mean()


@pytest.mark.parametrize("fins", [0, 2])
def test_stack_edges_bound_the_labels(fins):
    scene = simulate("stack", shape=(400, 400), pixel_size_nm=0.12, seed=7, fins=fins)
    labels, edges = scene.truth.labels, scene.truth.edges_px
    for column in range(0, 400, 7):
        top = edges[:, column]
        assert np.all(np.diff(top) > 0)
        for upper, lower, label in zip(top[:-1], top[1:], (1, 2, 3), strict=True):
            between = labels[int(np.ceil(upper)) : int(np.ceil(lower)), column]
            assert np.all(between == label)
        assert np.all(labels[: int(np.ceil(top[0])), column] == 0)
    if fins == 0:
        # Along the vertical a planar layer's thickness is the distance of its edges.
        thick = np.diff(edges, axis=0).mean(axis=1)[::-1]
        layers = scene.truth.tables["layers"]
        np.testing.assert_allclose(thick, layers["mean_thickness_px"], rtol=1e-5)
        np.testing.assert_allclose(layers["mean_thickness_nm"], layers["thickness_nm"], atol=0.35)
    else:
        assert 5 in labels


def test_stack_has_its_lattice():
    scene = simulate(
        "stack", shape=(512, 512), pixel_size_nm=0.1, seed=1, fins=0, lattice_contrast=0.1
    )
    below = scene.image[380:508, 128:384]
    power = np.abs(np.fft.fft2(below - below.mean())) ** 2
    power[0, 0] = 0
    ky, kx = np.unravel_index(int(np.argmax(power)), power.shape)
    frequency = np.hypot(np.fft.fftfreq(128)[ky], np.fft.fftfreq(256)[kx])
    assert 0.1 / frequency == pytest.approx(0.3136, rel=0.02)


# -- defects ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scene_name", "kind"),
    [(scene, kind) for kind, scenes in DEFECT_KINDS.items() for scene in scenes],
)
def test_planted_defects_are_in_the_truth_and_in_the_image(scene_name, kind):
    scene = simulate(scene_name, shape=(400, 400), seed=11, defects={kind: 2})
    found = scene.truth.defects
    assert list(found["kind"]) == [kind, kind]
    assert np.all(np.isfinite(found.drop(columns="kind").to_numpy(float)))
    assert np.all(np.abs(found["contrast"]) > 0.02)
    assert np.all((found["y_px"] > -20) & (found["y_px"] < 420))
    for defect in found.itertuples():
        assert defect.height_nm == pytest.approx(defect.height_px * scene.pixel_size_nm[0])


def test_breaks_and_bridges_change_the_labels():
    scene = simulate("lines", shape=(400, 400), seed=2, defects=["break", "bridge"])
    for defect in scene.truth.defects.itertuples():
        label = scene.truth.labels[round(defect.y_px), round(defect.x_px)]
        assert label == (1 if defect.kind == "bridge" else 0)


def test_a_missing_hole_is_missing():
    scene = simulate("nand", shape=(400, 500), seed=2, defects=["missing_hole"], texture=0.0)
    gone = scene.truth.defects.iloc[0]
    assert scene.truth.labels[round(gone.y_px), round(gone.x_px)] == 0
    whole = simulate("nand", shape=(400, 500), seed=2)
    assert len(scene.truth.tables["holes"]) == len(whole.truth.tables["holes"]) - 1


# -- wrong calls --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "words"),
    [
        ({"scene_name": "linse"}, "did you mean 'lines'"),
        ({"scene_name": "lines", "cd": 3}, "did you mean 'cd_nm'"),
        ({"scene_name": "lines", "cd_nm": "wide"}, "give a number"),
        ({"scene_name": "lines", "cd_nm": 50.0}, "narrower than the pitch"),
        ({"scene_name": "lines", "hurst": 2.0}, "between"),
        ({"scene_name": "lines", "shape": (4, 4)}, "at least 16"),
        ({"scene_name": "lines", "shape": 64}, "height, width"),
        ({"scene_name": "lines", "pixel_size_nm": -1}, "positive"),
        ({"scene_name": "lines", "pixel_size_nm": (1, 2)}, "square"),
        ({"scene_name": "lines", "defects": ["bridg"]}, "did you mean 'bridge'"),
        ({"scene_name": "nand", "defects": ["bridge"]}, "can carry"),
        ({"scene_name": "nand", "defects": {"dent": -1}}, "whole number"),
        ({"scene_name": "nand", "kind": "ovla"}, "did you mean 'oval'"),
        ({"scene_name": "nand", "kind": {"oval": 0.0}}, "not all 0"),
        ({"scene_name": "nand", "border": "open"}, "Known: complete, cut"),
        ({"scene_name": "nand", "shape": (64, 64), "pixel_size_nm": 1.0}, "No complete hole"),
        ({"scene_name": "stack", "fins": 1.5}, "whole number"),
        ({"scene_name": "stack", "fins": 40}, "do not fit"),
        ({"scene_name": "particles", "coverage": 2.0}, "between"),
    ],
)
def test_wrong_calls_say_what_is_allowed(call, words):
    with pytest.raises(UsageError, match=words):
        simulate(**{"shape": (128, 128), "seed": 0, **call})


def test_seed_and_rng_exclude_each_other(rng):
    with pytest.raises(UsageError, match="one of them"):
        simulate("lines", seed=1, rng=rng)


@pytest.mark.parametrize(
    ("name", "defects"),
    [
        ("nand", {"missing_hole": 1, "dent": 1, "particle": 1}),
        ("lines", {"bridge": 1, "break": 1, "dent": 1, "particle": 1}),
        ("particles", {"dent": 1, "particle": 1}),
        ("stack", {"particle": 2}),
    ],
)
def test_a_scene_without_its_defects_differs_only_there(name, defects):
    scene = simulate(name, shape=(192, 256), seed=3, defects=defects)
    change = np.abs(scene.image - scene.defect_free)
    assert scene.defect_free.dtype == np.float32
    for found in scene.truth.defects.itertuples():
        y, x = round(found.y_px), round(found.x_px)
        half_h, half_w = int(found.height_px / 2) + 2, int(found.width_px / 2) + 2
        box = change[max(y - half_h, 0) : y + half_h + 1, max(x - half_w, 0) : x + half_w + 1]
        assert box.max() > 0.5 * abs(found.contrast)
        # Shapes are uneven, and bright edges reach out of the box.
        half_h, half_w = 2 * half_h + 12, 2 * half_w + 12
        change[max(y - half_h, 0) : y + half_h + 1, max(x - half_w, 0) : x + half_w + 1] = 0
    assert change.max() < 0.01
    assert simulate(name, shape=(192, 256), seed=3).defect_free is None
