"""The whole audit of a folder in which one of each fault was planted."""

import json

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from penumbra.audit.audit import audit
from penumbra.data.layouts import open_source
from penumbra.errors import SettingsError, StorageError

SIZE = (64, 80)


def scene(seed, size=SIZE):
    """A smooth picture unlike that of any other seed."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (8, 8), dtype=np.uint8))
    return np.asarray(coarse.resize(size[::-1], Image.Resampling.BICUBIC)).copy()


def disc(x, y, radius=10, size=SIZE):
    rows, columns = np.mgrid[: size[0], : size[1]]
    return (((columns - x) ** 2 + (rows - y) ** 2) <= radius**2).astype(np.uint8)


class Folder:
    """A folder layout that images and masks are put into."""

    def __init__(self, root):
        self.root = root
        for name in ("images", "masks"):
            (root / name).mkdir(parents=True)

    def put(self, name, image, mask, **options):
        Image.fromarray(image).save(self.root / "images" / f"{name}.png", **options)
        if mask is not None:
            Image.fromarray(mask).save(self.root / "masks" / f"{name}.png")

    def open(self):
        return open_source(f"folder:{self.root}", class_names=("background", "object"))


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    folder = Folder(tmp_path_factory.mktemp("planted") / "set, with ünusual name")
    images = folder.root / "images"
    for seed in range(30):
        folder.put(f"plain{seed:02d}", scene(seed), disc(40, 30, 8 + seed % 4))
    folder.put("a", scene(100), disc(30, 30))
    folder.put("a_copy", scene(100), disc(54, 30))
    folder.put("b", scene(101), disc(30, 30), compress_level=1)
    folder.put("b_other", scene(101), disc(30, 30) * 0, compress_level=9)
    noise = np.random.default_rng(5).normal(0, 1.5, SIZE)
    folder.put("c", scene(102), disc(30, 30))
    folder.put("c_near", np.clip(scene(102) + noise, 0, 255).astype(np.uint8), disc(30, 30))
    folder.put("e", scene(103), disc(30, 30))
    folder.put("e_bare", scene(103), None)
    folder.put("large", scene(104, (128, 200)), disc(30, 30, size=(128, 200)))
    folder.put("deep", scene(105).astype(np.uint16) * 200, disc(30, 30))
    folder.put("flat", np.full(SIZE, 90, np.uint8), disc(30, 30))
    folder.put("full", scene(106), np.ones(SIZE, np.uint8))
    folder.put("outside", scene(107), disc(30, 30) * 7)
    folder.put("misfit", scene(108), disc(30, 30, size=(40, 40)))
    padded = scene(109)
    padded[:, 40:] = 0
    folder.put("padding", padded, disc(66, 30, 5))
    Image.fromarray(scene(110)).convert("RGB").save(images / "photo.png", format="JPEG")
    Image.fromarray(disc(30, 30)).save(folder.root / "masks" / "photo.png")
    whole = (images / "plain00.png").read_bytes()
    (images / "cut.png").write_bytes(whole[: len(whole) // 2])
    (images / "page.png").write_text("<html>not found</html>")
    Image.fromarray(disc(30, 30)).save(folder.root / "masks" / "orphan.png")
    table = "id,group\n" + "".join(
        f"{name},{group}\n" for name, group in (("a", "p1"), ("a_copy", "p2"), ("b", "p3"))
    )
    (folder.root / "groups.csv").write_text(table)
    return folder


@pytest.fixture(scope="module")
def found(planted, tmp_path_factory):
    splits = {"a": "train", "a_copy": "test", "b": "train", "b_other": "train", "c": "train"}
    return audit(
        planted.open(),
        out=tmp_path_factory.mktemp("audit"),
        manifest={**splits, "c_near": "val"},
        workers=2,
    )


def by_kind(found):
    kinds = {}
    for finding in found.findings:
        kinds.setdefault(finding.kind, []).append(finding)
    return kinds


@pytest.mark.parametrize(
    ("kind", "severity", "samples"),
    [
        ("truncated", "error", ["cut"]),
        ("unreadable", "error", ["page"]),
        ("wrong-suffix", "warning", ["photo"]),
        ("size-outlier", "warning", ["large"]),
        ("blank-image", "warning", ["flat"]),
        ("mask-values", "error", ["outside"]),
        ("mask-size", "error", ["misfit"]),
        ("empty-mask", "warning", ["b_other"]),
        ("full-mask", "warning", ["full"]),
        ("mask-on-blank", "warning", ["padding"]),
        ("duplicate-bytes", "warning", ["a", "a_copy"]),
        ("duplicate-pixels", "warning", ["b", "b_other"]),
        ("near-duplicate", "note", ["c", "c_near"]),
        ("conflicting-masks", "error", ["a", "a_copy"]),
        ("one-empty-mask", "error", ["b", "b_other"]),
        ("one-missing-mask", "note", ["e", "e_bare"]),
    ],
)
def test_each_planted_fault_is_found_alone(found, kind, severity, samples):
    of_kind = by_kind(found)[kind]
    of_samples = [finding for finding in of_kind if sorted(finding.samples) == samples]
    assert [finding.severity for finding in of_samples] == [severity]
    if not kind.startswith("duplicate"):
        assert of_kind == of_samples


def test_other_depths_are_outliers(found):
    (depth,) = by_kind(found)["depth-outlier"]
    assert set(depth.samples) == {"deep", "photo"}
    assert depth.details["found"]["deep"] == "uint16 with 1 channel"


def test_what_the_layout_found_is_kept(found):
    assert by_kind(found)["orphan-mask"][0].samples == ("orphan.png",)
    assert "e_bare" in by_kind(found)["missing-mask"][0].samples


def test_pairs_are_those_planted_and_no_other(found):
    pairs = {(pair.a, pair.b): pair for pair in found.compared}
    assert {names: pair.level for names, pair in pairs.items()} == {
        ("a", "a_copy"): "bytes",
        ("b", "b_other"): "pixels",
        ("c", "c_near"): "near",
        ("e", "e_bare"): "bytes",
    }
    assert [pair.kind for pair in pairs.values()] == [
        *("differ", "one-empty", "agree", "one-missing"),
    ]


def test_conflicts_are_ranked_by_score_and_one_mask_comes_last(found):
    # Both are the same image with masks that share nothing: the score is its highest.
    assert [(pair.a, pair.score) for pair in found.conflicts] == [
        *(("a", 1.0), ("b", 1.0), ("e", None)),
    ]


def test_leaks_over_the_manifests_splits_and_over_groups(found):
    leaks = [(f.severity, f.samples, f.details["level"]) for f in by_kind(found)["leak"]]
    assert leaks == [("error", ("a", "a_copy"), "bytes"), ("warning", ("c", "c_near"), "near")]
    assert by_kind(found)["leak"][0].details["splits"] == {"a": "train", "a_copy": "test"}
    assert ("a", "a_copy") in [f.samples for f in by_kind(found)["two-groups"]]


def test_errors_come_first(found):
    order = [("error", "warning", "note").index(finding.severity) for finding in found.findings]
    assert order == sorted(order)
    assert found.worst == tuple(f for f in found.findings if f.severity == "error")


def test_files_hold_what_was_found(found, tmp_path):
    report = found.write(tmp_path / "out", command="penumbra audit x")
    findings = json.loads((tmp_path / "out" / "findings.json").read_text(encoding="utf-8"))
    assert [set(finding) for finding in findings] == [
        {"kind", "severity", "samples", "message", "details"}
    ] * len(found.findings)
    pairs = pd.read_parquet(tmp_path / "out" / "pairs.parquet")
    assert list(pairs.columns[:5]) == ["a", "b", "level", "rms", "dice"]
    assert pairs["a"].tolist() == ["a", "b", "c", "e"]
    assert pairs["dice"].isna().tolist() == [False, False, False, True]
    assert report.read_text(encoding="utf-8").startswith("<!doctype html>")
    assert found.to_frame()["kind"].tolist() == [finding["kind"] for finding in findings]
    assert found.pairs_frame()["turn"].tolist() == [0, 0, 0, 0]


def test_balance_counts_what_is_there(found):
    whole = found.balance.whole
    # Without the two broken masks, those of the two unreadable images, and the missing one.
    assert (whole.images, whole.masks, whole.empty) == (48, 43, 1)
    assert whole.images_with[1] == 42
    assert found.balance.splits["train"].images == 4
    assert found.summary["pairs"] == {"bytes": 2, "pixels": 1, "near": 1}
    assert found.balance.mean_mask.shape == (32, 32)


def test_a_second_audit_finds_the_same(planted, found, tmp_path):
    again = audit(planted.open(), out=tmp_path)
    once_more = audit(planted.open(), out=tmp_path)
    assert once_more.findings == again.findings
    assert once_more.compared == again.compared == found.compared


def test_an_audit_without_a_folder_keeps_nothing(planted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert audit(planted.open()).summary["images"] == 48
    assert list(tmp_path.iterdir()) == []


def test_turned_and_moved_copies_have_their_masks_aligned(tmp_path):
    folder = Folder(tmp_path)
    for seed in range(4):
        folder.put(f"plain{seed}", scene(seed, (256, 256)), disc(60, 60, size=(256, 256)))
    image, mask = scene(50, (256, 256)), disc(60, 90, 30, size=(256, 256))
    folder.put("x", image, mask)
    folder.put("x_turned", np.rot90(image[:, ::-1]).copy(), np.rot90(mask[:, ::-1]).copy())
    found = audit(folder.open(), turns=True)
    assert [(p.a, p.b, p.dice, p.kind) for p in found.compared] == [("x", "x_turned", 1.0, "agree")]
    assert audit(folder.open()).compared == ()

    wide, wider = scene(60, (270, 270)), disc(70, 100, 30, size=(270, 270))
    folder.put("y", wide[4:260, 6:262].copy(), wider[4:260, 6:262].copy())
    folder.put("y_moved", wide[7:263, 4:260].copy(), wider[7:263, 4:260].copy())
    (moved,) = [p for p in audit(folder.open(), shifts=4).compared if p.a == "y"]
    assert moved.shift == (3, -2)
    assert moved.rms == pytest.approx(0, abs=1e-6)
    assert moved.dice == 1.0


def test_settings_that_cannot_be_are_refused(planted, tmp_path):
    with pytest.raises(SettingsError, match="threshold"):
        audit(planted.open(), threshold=-1.0)
    with pytest.raises(SettingsError, match="shifts"):
        audit(planted.open(), shifts=-1)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        audit(planted.open(), out=tmp_path / "file" / "out")


def test_one_image_is_a_set(tmp_path):
    folder = Folder(tmp_path)
    folder.put("only", scene(1), disc(30, 30))
    found = audit(folder.open())
    assert found.compared == ()
    assert found.findings == ()
    assert found.write(tmp_path / "out").is_file()


def test_files_that_come_or_go_while_the_audit_runs_are_a_finding(tmp_path):
    images = tmp_path / "data" / "images"
    images.mkdir(parents=True)
    for number in range(6):
        Image.fromarray(np.full((16, 16), 40 * number, np.uint8)).save(images / f"{number}.png")
    source = open_source(f"folder:{tmp_path / 'data'}")

    def meddling(items, **about):
        for place, item in enumerate(items):
            if place == 2 and about["what"] == "scanning":
                (images / "new one.png").write_bytes((images / "0.png").read_bytes())
                (images / "5.png").unlink()
            yield item

    found = [f for f in audit(source, progress=meddling).findings if f.kind == "changed-folder"]
    assert [dict(finding.details) for finding in found] == [
        {"came": ["new one.png"], "went": ["5.png"]}
    ]
    assert "1 file came and 1 went" in found[0].message
    assert not [f for f in audit(source).findings if f.kind == "changed-folder"]
