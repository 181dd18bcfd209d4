"""The list of what can be run: parameters checked, outcomes uniform, numbers those of Python."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pydantic import ValidationError

import everhart as eh
from everhart.operations import OPERATIONS, DenoiseParameters, get_operation


@pytest.fixture
def image(rng: np.random.Generator) -> eh.Micrograph:
    pixels = np.kron(rng.integers(40, 200, (8, 8)), np.ones((12, 12))) + rng.normal(0, 12, (96, 96))
    return eh.Micrograph(np.clip(np.rint(pixels), 0, 255).astype(np.uint8), pixel_size_nm=1.5)


def test_names_and_descriptions():
    assert list(OPERATIONS)[:5] == ["denoise", "noise", "compare", "align", "measure-holes"]
    for name, operation in OPERATIONS.items():
        assert operation.name == name
        assert operation.summary.endswith(".")
        schema = operation.parameters.model_json_schema()
        assert schema["additionalProperties"] is False
        assert all(field.description for field in operation.parameters.model_fields.values())
        json.dumps(schema)  # the service publishes it


def test_denoise(image):
    outcome = OPERATIONS["denoise"](image, method="median")
    (restored,) = outcome.micrographs
    np.testing.assert_array_equal(restored.pixels, eh.denoise(image, "median").pixels)
    assert restored.pixel_size_nm == (1.5, 1.5)
    assert outcome.results[0]["parameters"]["method"] == "median"


def test_one_preparation_for_many_images(image):
    run = OPERATIONS["denoise"].prepare(DenoiseParameters(method="gaussian"))
    outcome = run([image, image], {})
    assert len(outcome.micrographs) == len(outcome.results) == 2


def test_noise(image):
    outcome = OPERATIONS["noise"]([image])
    assert outcome.micrographs == ()
    json.dumps(outcome.results[0])


def test_compare(image):
    truth = eh.denoise(image, "median")
    outcome = OPERATIONS["compare"](
        image, methods=["gaussian"], alignment="none", roles={"reference": truth}
    )
    assert outcome.results[0]["methods"][1]["method"] == "gaussian"
    assert outcome.documents["report.html"].startswith("<!DOCTYPE html>")


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        (
            "denoise",
            {"metod": "nlm"},
            "denoise 'metod': did you mean 'method'",
        ),
        ("denoise", {"device": "tpu"}, "device: 'tpu' was given"),
        ("denoise", {"method": "nml"}, "did you mean 'nlm'"),
        ("noise", {"method": "nlm"}, "Unknown parameter of noise 'method'"),
        ("compare", {"methods": []}, "methods"),
        ("compare", {"data_range": -1.0}, "data_range: -1.0 was given"),
    ],
)
def test_wrong_values_are_usage_errors(image, name, values, said):
    with pytest.raises(eh.UsageError, match=said) as caught:
        OPERATIONS[name](image, **values)
    assert "\n" not in str(caught.value)


def test_wrong_names(image):
    with pytest.raises(eh.UsageError, match="did you mean 'denoise'"):
        get_operation("denose")
    with pytest.raises(eh.UsageError, match="Unknown role of denoise 'reference'"):
        OPERATIONS["denoise"](image, roles={"reference": image})


def test_parameters_are_frozen():
    with pytest.raises(ValidationError):
        DenoiseParameters().method = "nlm"  # type: ignore[misc]


def test_methods_with_commas():
    check = OPERATIONS["compare"].check
    assert check({"methods": "nlm, tv,"}).methods == check({"methods": ["nlm", "tv"]}).methods


def test_align(image):
    moved = eh.Micrograph(np.roll(image.pixels, (2, -1), (0, 1)), pixel_size_nm=1.5)
    outcome = OPERATIONS["align"]([image, moved], whole_pixels=True)
    (stack,) = outcome.micrographs
    np.testing.assert_array_equal(stack.pixels[0], stack.pixels[1])
    assert outcome.results[0]["frames"][1]["drift_x_nm"] == -1.5
    json.dumps(outcome.results[0])
