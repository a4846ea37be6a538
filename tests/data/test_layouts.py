"""Each layout on a small folder made for the test, and the ways in which opening can fail."""

import csv
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from penumbra.data.layouts import LAYOUTS, layout_named, open_source, recognise
from penumbra.data.source import Source, require_masks
from penumbra.errors import SourceError

RNG = np.random.default_rng(3)


def put(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, dtype=np.uint8)).save(path)
    return path


def noise(*shape: int) -> np.ndarray:
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def blob(shape: tuple[int, int], rows: slice, columns: slice, value: int = 255) -> np.ndarray:
    mask = np.zeros(shape, dtype=np.uint8)
    mask[rows, columns] = value
    return mask


def kinds(source: Source) -> dict[str, tuple[str, ...]]:
    return {finding.kind: finding.samples for finding in source.findings}


def make_dsb2018(root: Path) -> Path:
    for name in ("aa", "b10", "b9"):
        put(root / name / "images" / f"{name}.png", noise(8, 9, 4))
        put(root / name / "masks" / "one.png", blob((8, 9), slice(0, 2), slice(0, 3)))
        put(root / name / "masks" / "two.png", blob((8, 9), slice(5, 8), slice(4, 9)))
    return root


def make_isbi(root: Path) -> Path:
    for number in (0, 2, 10):
        put(root / "images" / f"{number}.png", noise(6, 6))
        put(root / "labels" / f"{number}.png", blob((6, 6), slice(1, 5), slice(1, 5)))
    return root


def make_camvid(root: Path) -> Path:
    for split in ("train", "val", "test"):
        put(root / split / f"{split}1.png", noise(6, 8, 3))
        put(root / f"{split}annot" / f"{split}1.png", np.arange(48).reshape(6, 8) % 12)
    return root


def make_nerve(root: Path) -> Path:
    for split, frames in (("train", ("1_1", "1_2", "2_10")), ("test", ("1_3", "2_10"))):
        for frame in frames:
            put(root / split / "images" / f"{frame}.png", noise(6, 8))
            put(
                root / split / "masks" / f"{frame}_mask.png", blob((6, 8), slice(0, 3), slice(0, 4))
            )
    return root


def make_covid(root: Path) -> Path:
    rows = []
    for name in ("a", "b", "c"):
        put(root / "images" / f"{name}.png", noise(10, 12))
    structures = [
        ("a", "Left Lung", 2, -1, (4, 3)),
        ("a", "Right Lung", 8, 10, (5, 5)),
        ("a", "Consolidation", 3, 4, (2, 2)),
        ("b", "Left Lung", 0, 0, (4, 3)),
    ]
    for number, (image, name, top, left, size) in enumerate(structures):
        piece = np.zeros((*size, 4), dtype=np.uint8)
        piece[..., 3] = 255
        piece[:, 1:, 0] = 200
        put(root / "masks" / f"{number}.png", piece)
        rows.append((f"{image}.png", name, f"masks/{number}.png", "12x10", top, left))
    rows.append(("b.png", "Monitoring Probes", "", "12x10", 0, 0))
    with (root / "structure.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(("Filename", "Template Name", "Mask", "Resolution", "Top", "Left"))
        writer.writerows(rows)
    (root / "metadata.csv").write_text("patientid,filename\n7,a.png\n7,b.png\n")
    return root


MAKERS = {
    "dsb2018": make_dsb2018,
    "isbi": make_isbi,
    "camvid": make_camvid,
    "nerve": make_nerve,
    "covid-cxr": make_covid,
}


@pytest.mark.parametrize("name", MAKERS)
def test_every_layout_is_recognised_lazy_and_travels_to_workers(tmp_path: Path, name: str) -> None:
    root = MAKERS[name](tmp_path / f"my-{name}")
    assert recognise(root).name == name
    source = pickle.loads(pickle.dumps(open_source(root)))
    assert source.name == f"{name}:{root}"
    assert [r.id for r in open_source(f"{name}:{root}").records] == [r.id for r in source.records]
    for sample in source:
        assert sample.image.ndim == 3
        if sample.mask is not None:
            assert sample.mask.shape == sample.image.shape[:2]
            assert sample.mask.dtype == np.uint8
    assert len({sample.image.shape[-1] for sample in source}) == 1


def test_layout_names_are_unique_and_described() -> None:
    assert len({layout.name for layout in LAYOUTS}) == len(LAYOUTS)
    assert all(layout.describe for layout in LAYOUTS)


def test_dsb2018_merges_nuclei_and_drops_alpha(tmp_path: Path) -> None:
    source = open_source(make_dsb2018(tmp_path))
    assert [record.id for record in source.records] == ["aa", "b9", "b10"]
    sample = source[0]
    assert sample.image.shape == (8, 9, 3)
    assert int(sample.mask.sum()) == 2 * 3 + 3 * 5
    assert source.symmetry == "dihedral"


def test_dsb2018_refuses_a_nucleus_of_another_size(tmp_path: Path) -> None:
    put(make_dsb2018(tmp_path) / "aa" / "masks" / "three.png", np.zeros((4, 4)))
    with pytest.raises(SourceError, match=r"three\.png.*8×9 \(height × width\), but got 4×4"):
        open_source(tmp_path)[0]


def test_isbi_counts_both_classes_and_keeps_the_order_of_sections(tmp_path: Path) -> None:
    source = open_source(make_isbi(tmp_path / "isbi"))
    assert [record.id for record in source.records] == ["0", "2", "10"]
    assert source.class_names == ("membrane", "cell")
    assert not source.has_background
    assert source[0].mask.sum() == 16


def test_camvid_void_is_ignored_and_the_split_is_given(tmp_path: Path) -> None:
    source = open_source(make_camvid(tmp_path))
    assert [record.split for record in source.records] == ["train", "val", "test"]
    assert set(np.unique(source[0].mask)) == {*range(11), 255}
    assert source.n_classes == 11
    assert source.symmetry == "horizontal"


def test_nerve_groups_by_subject_and_makes_ids_unique(tmp_path: Path) -> None:
    source = open_source(make_nerve(tmp_path))
    ids = [record.id for record in source.records]
    assert len(set(ids)) == 5
    assert ids[:3] == ["1_1", "1_2", "1_3"]
    assert {r.id.split("_")[0] for r in source.records if r.group == "2"} == {"2"}
    # The shipped split is known, for those who ask for it; it shares subjects and even frames.
    assert [record.split for record in source.records] == [
        *("train", "train", "test", "train", "test"),
    ]
    assert layout_named("nerve").strategy == "random"


def test_nerve_flat_folder_and_blurred_masks(tmp_path: Path) -> None:
    put(tmp_path / "3_1.tif", noise(6, 8))
    put(tmp_path / "3_1_mask.tif", [[0, 127, 128, 255, 3, 250, 0, 0]] * 6)
    put(tmp_path / "4_1.tif", noise(6, 8))
    put(tmp_path / "5_1_mask.tif", np.zeros((6, 8)))
    put(tmp_path / "cover.png", noise(3, 3))
    source = open_source(tmp_path)
    assert source.layout == "nerve"
    assert source[0].mask[0].tolist() == [0, 0, 1, 1, 0, 1, 0, 0]
    assert kinds(source) == {
        "missing-mask": ("4_1",),
        "orphan-mask": ("5_1_mask.tif",),
        "unknown-name": ("cover.png",),
    }


def test_covid_pastes_coloured_pieces_and_cuts_at_the_edges(tmp_path: Path) -> None:
    source = open_source(make_covid(tmp_path), target="lungs")
    expected = np.zeros((10, 12), dtype=np.uint8)
    expected[2:6, 0:2] = 1
    expected[8:10, 11:12] = 1
    np.testing.assert_array_equal(source[0].mask, expected)
    assert [record.group for record in source.records] == ["7", "7", "c"]
    assert source[1].mask is None
    assert kinds(source) == {"missing-mask": ("b", "c"), "partial-mask": ("b",)}


def test_covid_without_infection_is_empty_only_where_annotated(tmp_path: Path) -> None:
    source = open_source(make_covid(tmp_path))
    assert source.target == "infection"
    assert source[0].mask.sum() == 2
    assert source[1].mask.sum() == 0
    assert source[2].mask is None


def test_covid_refuses_a_resized_image_and_a_broken_table(tmp_path: Path) -> None:
    root = make_covid(tmp_path)
    put(root / "images" / "a.png", noise(5, 6))
    with pytest.raises(SourceError, match=r"12x10 \(width × height\), but got 6x5"):
        open_source(root)[0]
    (root / "structure.csv").write_text("Filename,Mask\n")
    with pytest.raises(SourceError, match=r"columns .*Top, Left"):
        open_source(root)


def test_unknown_layout_target_and_paths_say_what_is_known(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"one of dsb2018, covid-cxr, .*folder, but got 'nerv'"):
        open_source(f"nerv:{tmp_path}")
    with pytest.raises(SourceError, match="an existing folder, but got a path that does not exist"):
        open_source(tmp_path / "absent")
    with pytest.raises(SourceError, match="an existing folder, but got a path that does not exist"):
        open_source("folder:absent")
    with pytest.raises(SourceError, match=r"images/ and masks of the same names in masks/"):
        open_source(tmp_path)
    put(tmp_path / "one.png", noise(3, 3))
    with pytest.raises(SourceError, match="an existing folder, but got a file"):
        open_source(tmp_path / "one.png")
    root = make_covid(tmp_path / "c")
    with pytest.raises(SourceError, match="one of infection, lungs, but got 'lung'"):
        open_source(root, target="lung")
    with pytest.raises(SourceError, match="left out"):
        open_source(make_dsb2018(tmp_path / "d"), target="lungs")


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_a_folder_of_another_kind_is_refused_by_every_layout(tmp_path: Path, layout) -> None:
    (tmp_path / "notes.txt").write_text("nothing to see")
    with pytest.raises(SourceError, match=r"^Expected .* Try .*\.$"):
        layout.open(tmp_path)


def test_class_names_of_a_fixed_layout_can_be_renamed_but_not_counted_anew(tmp_path: Path) -> None:
    root = make_dsb2018(tmp_path)
    assert open_source(root, class_names=["rest", "cell"]).class_names == ("rest", "cell")
    with pytest.raises(SourceError, match=r"2 names .*but got 3"):
        open_source(root, class_names=["a", "b", "c"])


def test_masks_are_required_where_work_needs_them(tmp_path: Path) -> None:
    put(tmp_path / "images" / "a.png", noise(4, 4))
    bare = open_source(tmp_path)
    assert bare[0].mask is None
    with pytest.raises(SourceError, match="images with masks, but got 1 image and no mask"):
        require_masks(bare)
    put(tmp_path / "masks" / "a.png", np.zeros((4, 4)))
    require_masks(open_source(tmp_path))
