import json

import numpy as np
import pandas as pd
import pytest

from everhart.cli import main
from everhart.io import read
from everhart.simulate import simulate
from everhart.simulate.export import write_truth


def test_truth_on_disk_is_the_truth(tmp_path):
    scene = simulate("lines", shape=(60, 90), seed=1, defects=["bridge"])
    files = write_truth(scene, tmp_path, "one", record={"seed": 1})
    document = json.loads(files["truth"].read_text())
    assert document["pixel_size_nm"] == [0.8, 0.8]
    assert document["seed"] == 1
    assert "centres are at integers" in document["coordinates"]
    edges = pd.read_csv(files["edges"]).drop(columns="row")
    np.testing.assert_allclose(edges.to_numpy().T, scene.truth.edges_px, atol=1e-5)
    assert edges.columns[0] == "x_px line 0 left"
    np.testing.assert_array_equal(read(files["labels"]).pixels, scene.truth.labels)
    defects = pd.read_csv(files["defects"])
    assert list(defects["kind"]) == ["bridge"]
    assert defects["x_nm"][0] == pytest.approx(scene.truth.defects["x_nm"][0])


def test_the_command_makes_images_and_truth(tmp_path, capsys):
    folder = tmp_path / "made"
    words = ["simulate", "nand", "-o", str(folder), "-n", "2", "--frames", "1,4", "--seed", "3"]
    words += ["--size", "96x128", "--set", "kind=oval", "--defects", "missing_hole"]
    assert main([*words, "--json", str(tmp_path / "made.json")]) == 0
    record = json.loads((tmp_path / "made.json").read_text())
    assert len(record["made"]) == 2
    truth = json.loads((folder / "nand_0001_truth.json").read_text())
    assert truth["images"] == {"nand_0001_F001.tif": 1, "nand_0001_F004.tif": 4}
    holes = pd.read_csv(folder / "nand_0001_holes.csv")
    assert set(holes["kind"]) == {"oval"}
    images = [read(folder / name) for name in (*truth["images"], truth["clean"])]
    noise = [np.std(image.pixels - images[2].pixels) for image in images[:2]]
    assert 1.6 < noise[0] / noise[1] < 2.4
    assert images[0].pixel_size_nm == pytest.approx(tuple(truth["pixel_size_nm"]))
    # The same seed gives the same bytes; what is there is not overwritten unasked.
    again = tmp_path / "again"
    assert main([*words[:3], str(again), *words[4:]]) == 0
    np.testing.assert_array_equal(read(again / "nand_0001_F004.tif").pixels, images[1].pixels)
    assert main(words) == 2
    assert "--overwrite" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nandd", "-o", "x"], "did you mean 'nand'"),
        (["nand", "-o", "x", "--frames", "1,zwei"], "whole numbers"),
        (["nand", "-o", "x", "--size", "100"], "height x width"),
        (["nand", "-o", "x", "--set", "kind"], "NAME=VALUE"),
        (["nand", "-o", "x", "--set", "radius=3"], "Unknown parameter"),
        (["nand", "-o", "x", "--set", "seed=3"], "options of their own"),
        (["nand", "-o", "x", "--microscope", "tinballs"], "did you mean 'tin-balls'"),
        (["nand", "-o", "x", "--format", "jpg"], "Known: tif, png"),
        (["nand", "-o", "x", "--defects", "bridge"], "can carry"),
    ],
)
def test_wrong_words_are_one_sentence_and_status_2(words, said, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["simulate", *words]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
