"""Images and references find each other by their names, or nobody is taken for another."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from everhart.errors import UsageError
from everhart.report.pairing import find_items, pair_files

SUFFIXES = (".tif", ".png", ".dm3")
NAMES = st.lists(
    st.from_regex(r"[a-z]{1,5}[0-9]{0,3}", fullmatch=True).filter(lambda n: n[:1] != "f"),
    min_size=1,
    max_size=8,
    unique=True,
)


def pairs_of(images: list[str], references: list[str], *, one_folder: bool = False):
    """Pair files below n/ and c/ (or one folder) and return their names below it."""
    first, second = ("d", "d") if one_folder else ("n", "c")
    found = pair_files(
        {Path(first, name): name for name in images},
        {Path(second, name): name for name in references},
    )
    return [
        (image.relative_to(first).as_posix(), reference.relative_to(second).as_posix())
        for image, reference in found
    ]


@given(NAMES, st.randoms(use_true_random=False), st.sampled_from(SUFFIXES))
def test_every_image_finds_its_own(names, random, suffix):
    from everhart.report.pairing import CLEAN_WORDS, NOISY_WORDS

    names = [name for name in names if name not in CLEAN_WORDS | NOISY_WORDS]
    if not names:
        return
    shuffled = list(names)
    random.shuffle(shuffled)
    same = [(f"{name}.tif", f"{name}{suffix}") for name in names]
    assert pairs_of([i for i, _ in same], [f"{n}{suffix}" for n in shuffled]) == same
    worded = [(f"{name}_noisy.tif", f"{name}_clean{suffix}") for name in names]
    assert pairs_of([i for i, _ in worded], [f"{n}_clean{suffix}" for n in shuffled]) == worded
    counted = [(f"{name}/F01_000.tif", f"{name}/F64{suffix}") for name in names]
    assert pairs_of([i for i, _ in counted], [f"{n}/F64{suffix}" for n in shuffled]) == counted


@given(NAMES, st.data())
def test_an_image_without_partner_is_named_and_never_given_another(names, data):
    missing = data.draw(st.sampled_from(names))
    others = [f"{name}.png" for name in names if name != missing] or ["zzzzzz.png"]
    with pytest.raises(UsageError, match=rf"1 of {len(names)} .*: n.{missing}\.tif;"):
        pairs_of([f"{name}.tif" for name in names], others)


@pytest.mark.parametrize(
    ("image", "references", "partner"),
    [
        ("a.tif", ["a.tif", "a.png"], "a.tif"),  # the same name first
        ("s/a.tif", ["t/a.tif", "s/a.png"], "s/a.png"),
        ("A.TIF", ["a.tif"], "a.tif"),
        ("a.b.tif", ["a.c.tif", "a.b.png"], "a.b.png"),
        ("noisy/a.tif", ["clean/a.tif"], "clean/a.tif"),
        ("a_noisy.tif", ["a.tif"], "a.tif"),
        ("a.tif", ["a-reference.tif", "b-reference.tif"], "a-reference.tif"),
        ("lines_0000_F001.tif", ["lines_0000_clean.tif", "lines_0000_F008.tif"],
         "lines_0000_clean.tif"),
        ("scene/F01_003.tif", ["scene/F08_000.tif", "scene/F64.tif"], "scene/F64.tif"),
        ("scene/F01_003.tif", ["scene/F64_000.tif", "scene/F64_003.tif"], "scene/F64_003.tif"),
        ("w_F01_003.tif", ["w_F64_003.tif", "v_F64_003.tif"], "w_F64_003.tif"),
    ],
)  # fmt: skip
def test_the_nearest_name_wins(image, references, partner):
    assert pairs_of([image], references) == [(image, partner)]


@pytest.mark.parametrize(
    ("image", "references"),
    [
        ("a.tif", ["b.tif"]),
        ("a_noisy.tif", ["a_raw.tif"]),  # both say that they are noisy
        ("scene/F64.tif", ["scene/F01_000.tif"]),  # fewer frames judge nothing
        ("s/F01_000.tif", ["t/F64.tif"]),
        ("a_clean.tif", ["a_mean.tif"]),
        ("a1.tif", ["a2.tif"]),
    ],
)
def test_no_partner(image, references):
    with pytest.raises(UsageError, match="1 of 1 images have no reference"):
        pairs_of([image], references)


def test_two_partners_that_fit_equally():
    with pytest.raises(UsageError, match="2 references by its name"):
        pairs_of(["a_noisy.tif"], ["a_clean.tif", "a_gt.tif"])


def test_one_folder_of_both():
    both = ["a_clean.tif", "a_noisy.tif", "s/F01_000.tif", "s/F01_001.tif", "s/F64.tif"]
    assert pairs_of(both, both, one_folder=True) == [
        ("a_noisy.tif", "a_clean.tif"),
        ("s/F01_000.tif", "s/F64.tif"),
        ("s/F01_001.tif", "s/F64.tif"),
    ]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"")


def test_folders_within_folders(tmp_path):
    touch(
        tmp_path, "a.tif", "b/1.tif", "clean/a.tif", "clean/b/1.tif", "notes.txt", "r.cells/x.png"
    )
    items = find_items(tmp_path, references=tmp_path / "clean")
    assert [(i.name, i.reference.relative_to(tmp_path).as_posix()) for i in items] == [
        ("a.tif", "clean/a.tif"),
        ("b/1.tif", "clean/b/1.tif"),
    ]


def test_patterns_and_files_are_matched_below_what_they_share(tmp_path):
    touch(tmp_path, *(f"{s}/{n}" for s in "xy" for n in ("F01_000.tif", "F64.tif")))
    expected = [("x/F01_000.tif", "x"), ("y/F01_000.tif", "y")]
    files = [tmp_path / s / "F01_000.tif" for s in "xy"]
    for images in (tmp_path / "*" / "F01_*.tif", files):
        items = find_items(images, references=tmp_path / "*" / "F64.tif")
        assert [(i.name, i.reference.parent.name) for i in items] == expected


def test_names_are_told_apart(tmp_path):
    touch(tmp_path, "x/1.tif", "y/1.tif")
    names = [item.name for item in find_items([tmp_path / "x", tmp_path / "y"])]
    assert len(set(names)) == 2


def test_fields_of_frames(tmp_path):
    touch(tmp_path, "A_001.tif", "A_002.tif", "A_003.tif", "B_001.tif", "B_002.tif")
    items = find_items(tmp_path, fields=True)
    assert [(i.name, i.image.name, len(i.frames)) for i in items] == [
        ("A_*.tif", "A_001.tif", 2),
        ("B_*.tif", "B_001.tif", 1),
    ]
    with pytest.raises(UsageError, match="together"):
        find_items(tmp_path, references=tmp_path, fields=True)


def test_nothing_there(tmp_path):
    with pytest.raises(UsageError, match="hold no images"):
        find_items(tmp_path, references=tmp_path)
