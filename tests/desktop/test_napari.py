"""The plugin of napari: its manifest, its reader, its widgets, all without a screen."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint, distribution
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("napari", exc_type=ImportError)
pytest.importorskip("npe2", exc_type=ImportError)

import npe2
from napari.components import ViewerModel
from napari.layers import Image, Layer

import everhart.desktop
from everhart import io
from everhart.desktop import napari as plugin
from everhart.errors import EverhartError
from everhart.micrograph import Micrograph

MANIFEST = Path(everhart.desktop.__file__).with_name("napari.yaml")


def test_the_manifest_names_what_is_there():
    manifest = npe2.PluginManifest.from_file(MANIFEST)
    manifest.validate_imports()
    assert manifest.name == "everhart"
    (reader,) = manifest.contributions.readers
    suffixes = {pattern.removeprefix("*") for pattern in reader.filename_patterns}
    assert suffixes <= set(io.readable_suffixes())
    widgets = {widget.display_name for widget in manifest.contributions.widgets}
    assert widgets == {"Denoise", "Segment", "Measure"}


def test_a_file_has_its_scale_and_units(tmp_path: Path):
    image = Micrograph(np.arange(12, dtype=np.uint16).reshape(3, 4), (2.0, 1.5))
    path = str(io.write(image, tmp_path / "a.tif"))
    read = plugin.get_reader(path)
    ((data, attributes, kind),) = read(path)
    viewer = ViewerModel()
    layer = viewer.add_layer(Layer.create(data, attributes, kind))
    assert [str(unit) for unit in layer.units] == ["nanometer", "nanometer"]
    assert tuple(layer.scale) == pytest.approx((2.0, 1.5))
    back = plugin.micrograph_of(layer)
    assert back.pixel_size_nm == pytest.approx((2.0, 1.5))
    assert (back.pixels == image.pixels).all()
    assert back.metadata["everhart"]["format"] == "TIFF"
    assert plugin.get_reader("notes.txt") is None


def test_a_stack_and_an_image_without_calibration():
    data, attributes, _ = plugin.layer_of(Micrograph(np.zeros((2, 5, 6), np.uint8), 3.0), "s")
    layer = Image(data, **attributes)
    assert tuple(layer.scale) == (1.0, 3.0, 3.0)
    assert plugin.micrograph_of(layer).pixel_size_nm == (3.0, 3.0)
    plain = Image(np.zeros((5, 6)))
    assert plugin.micrograph_of(plain).pixel_size_nm is None
    in_micrometres = Image(np.zeros((5, 6)), scale=(0.5, 0.5), units=("um", "um"))
    assert plugin.micrograph_of(in_micrometres).pixel_size_nm == pytest.approx((500, 500))


def test_what_is_written_keeps_scale_and_history(tmp_path: Path, wafer: Micrograph):
    data, attributes, _ = plugin.layer_of(wafer, "wafer")
    clean = Layer.create(*plugin.denoise(Image(data, **attributes), "median"))
    (written,) = plugin.write_image(str(tmp_path / "clean.tif"), *clean.as_layer_data_tuple()[:2])
    found = io.read(written)
    assert found.pixel_size_nm == pytest.approx((2.4, 2.4))
    assert found.history[-1].parameters["method"] == "median"


def test_measured_shapes_lie_on_the_image_and_carry_the_table(wafer: Micrograph):
    data, attributes, _ = plugin.layer_of(wafer, "wafer")
    ((shapes, told, kind),) = plugin.measure(Image(data, **attributes), "holes")
    layer = ViewerModel().add_layer(Layer.create(shapes, told, kind))
    table = layer.metadata["table"]
    assert tuple(layer.scale) == pytest.approx((2.4, 2.4))
    measured = layer.features[layer.features["kind"] == "edge"]
    assert len(measured) == len(table) > 5
    first = measured.iloc[0]
    assert first["cd_nm"] == table.iloc[0]["cd_nm"]
    middle = np.mean(layer.data[measured.index[0]], axis=0)
    assert middle == pytest.approx([first["y_px"], first["x_px"]], abs=1.0)


def test_an_image_without_calibration_is_not_measured_in_nm(wafer: Micrograph):
    with pytest.raises(EverhartError, match="pixel size"):
        plugin.measure(Image(wafer.pixels), "holes")


def test_a_widget_runs_in_a_thread_of_napari(qtbot, wafer: Micrograph):
    data, attributes, _ = plugin.layer_of(wafer, "wafer")
    layer = Image(data, **attributes)
    widget = plugin.denoise_widget()
    assert "median" in widget.method.choices
    widget.image.choices = [layer]
    widget.method.value = "median"
    worker = widget(image=layer)
    with qtbot.waitSignal(worker.returned, timeout=60_000) as caught:
        pass
    pixels, told, kind = caught.args[0]
    assert (kind, told["name"]) == ("image", "wafer median")
    assert pixels.std() < data.std()
    for make in (plugin.segment_widget, plugin.measure_widget):
        assert make().image.visible is not None


@pytest.mark.slow
def test_in_a_window_of_napari(tmp_path: Path, wafer: Micrograph):
    """With an OpenGL of a real or virtual screen only."""
    path = io.write(wafer, tmp_path / "wafer.tif")
    script = (
        "import sys, napari; from everhart.desktop import napari as p;"
        "v = napari.Viewer(show=False); data, a, k = p.read_layers(sys.argv[1])[0];"
        "v.add_image(data, **a); v.window.add_dock_widget(p.denoise_widget()); v.close()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        env={**os.environ, "QT_QPA_PLATFORM": os.environ.get("EVERHART_SCREEN", "offscreen")},
        capture_output=True,
        text=True,
        timeout=200,
    )
    if done.returncode and "gl" in done.stderr.lower():
        pytest.skip("there is no OpenGL on this screen (set EVERHART_SCREEN=xcb under Xvfb)")
    assert done.returncode == 0, done.stderr


def test_napari_finds_the_manifest_by_the_entry_point_of_the_package():
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    ((name, value),) = project["project"]["entry-points"]["napari.manifest"].items()
    entry = EntryPoint(name, value, "napari.manifest")
    found = npe2.PluginManifest._from_entrypoint(entry, distribution("everhart"))
    assert found.package_version == distribution("everhart").version
