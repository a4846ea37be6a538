"""Splitting: groups whole, seeded, stratified, in blocks, in folds."""

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from penumbra.data.layouts import open_source
from penumbra.data.sample import Record
from penumbra.data.source import Source
from penumbra.data.split import Assignment, default_strategy, split_source
from penumbra.data.strata import strata_of
from penumbra.errors import ImageFileError, SettingsError, SourceError

GROUPS = st.lists(st.integers(1, 6), min_size=5, max_size=30)


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("split") / "same.png"
    Image.new("L", (10, 10)).save(path)
    return path


def read_mask(record: Record, size: tuple[int, int]) -> np.ndarray | None:
    fill = record.details[0][1]
    if fill == "broken":
        raise ImageFileError("Expected it to be whole, but got half. Try again.")
    if fill == "none":
        return None
    mask = np.zeros(size, dtype=np.uint8)
    mask.ravel()[: int(fill)] = 1
    return mask


def make(picture: Path, sizes: list[int], fills: list[object] | None = None) -> Source:
    """One group per size; sample k is filled with `fills[k]` pixels of 100."""
    groups = [f"g{number}" for number, size in enumerate(sizes) for _ in range(size)]
    fills = fills or [(7 * index) % 100 for index in range(len(groups))]
    records = tuple(
        Record(f"s{i}", group, picture, (picture,), details=(("fill", str(fill)),))
        for i, (group, fill) in enumerate(zip(groups, fills, strict=True))
    )
    return Source(
        "test",
        picture.parent,
        records,
        ("background", "thing"),
        lambda p: np.zeros((10, 10, 1)),
        read_mask,
    )


def groups_of(source: Source, numbers: dict[str, object]) -> dict[str, set[object]]:
    held: dict[str, set[object]] = {}
    for record in source.records:
        held.setdefault(record.group, set()).add(numbers[record.id])
    return held


ANY = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@ANY
@given(GROUPS, st.integers(0, 99), st.sampled_from(["random", "contiguous"]))
def test_groups_stay_whole_and_every_sample_has_one_split(
    picture: Path, sizes: list[int], seed: int, strategy: str
) -> None:
    source = make(picture, sizes)
    assignment = split_source(source, seed=seed, strategy=strategy)
    assert list(assignment.splits) == [record.id for record in source.records]
    assert all(len(splits) == 1 for splits in groups_of(source, assignment.splits).values())
    assert set(assignment.splits.values()) == {"train", "val", "test"}


@ANY
@given(GROUPS, st.integers(0, 99), st.randoms(use_true_random=False))
def test_the_same_seed_gives_the_same_split_in_any_order(
    picture: Path, sizes: list[int], seed: int, shuffler: random.Random
) -> None:
    source = make(picture, sizes)
    order = list(range(len(source)))
    shuffler.shuffle(order)
    first = split_source(source, seed=seed)
    again = split_source(source.subset(order), seed=seed)
    assert dict(first.splits) == dict(again.splits)


@ANY
@given(GROUPS, st.integers(3, 5), st.sampled_from(["random", "contiguous"]))
def test_folds_partition_the_source(
    picture: Path, sizes: list[int], folds: int, strategy: str
) -> None:
    source = make(picture, sizes)
    assignment = split_source(source, folds=folds, strategy=strategy)
    numbers = dict(assignment.folds or {})
    assert numbers.keys() == {record.id for record in source.records}
    assert set(numbers.values()) == set(range(folds))
    assert all(len(held) == 1 for held in groups_of(source, numbers).values())
    roles = {0: "test", 1: "val"}
    assert all(split == roles.get(numbers[i], "train") for i, split in assignment.splits.items())
    tested = [name for fold in range(folds) for name in assignment.for_fold(fold).ids("test")]
    assert sorted(tested) == sorted(numbers)


def test_fractions_and_strata_are_met(picture: Path) -> None:
    fills = [0, 10, 30, 50, 90] * 40
    source = make(picture, [1] * 200, fills)
    assignment = split_source(source, seed=3, fractions=(0.6, 0.2, 0.2))
    assert Counter(assignment.splits.values()) == {"train": 120, "val": 40, "test": 40}
    kinds = strata_of(source).names
    for split, share in (("train", 0.6), ("val", 0.2), ("test", 0.2)):
        counts = Counter(kinds[name] for name in assignment.ids(split))
        for kind, total in Counter(kinds.values()).items():
            assert abs(counts[kind] - share * total) <= 2


def test_fractions_are_met_as_well_as_unequal_groups_permit(picture: Path) -> None:
    source = make(picture, list(np.random.default_rng(0).integers(1, 30, 60)))
    counts = Counter(split_source(source, seed=1).splits.values())
    for split, share in (("train", 0.7), ("val", 0.15), ("test", 0.15)):
        assert abs(counts[split] / len(source) - share) < 0.02


def test_rare_empty_masks_reach_every_split(picture: Path) -> None:
    source = make(picture, [1] * 60, [0] * 6 + [40] * 54)
    for seed in range(5):
        assignment = split_source(source, seed=seed)
        empty = {f"s{index}" for index in range(6)}
        assert all(empty & set(assignment.ids(split)) for split in ("train", "val", "test"))


def test_seeds_differ(picture: Path) -> None:
    source = make(picture, [1] * 40)
    outcomes = {tuple(split_source(source, seed=seed).splits.items()) for seed in range(5)}
    assert len(outcomes) == 5


def test_a_share_of_zero_leaves_a_split_empty(picture: Path) -> None:
    source = make(picture, [1] * 10)
    for strategy in ("random", "contiguous"):
        assignment = split_source(source, fractions=(0.8, 0, 0.2), strategy=strategy)
        assert Counter(assignment.splits.values()) == {"train": 8, "test": 2}


def test_blocks_follow_the_order_on_a_ring(picture: Path) -> None:
    source = make(picture, [1] * 20)
    starts = set()
    for seed in range(8):
        splits = list(split_source(source, seed=seed, strategy="contiguous").splits.values())
        changes = [i for i in range(20) if splits[i] != splits[i - 1]]
        assert len(changes) == 3
        after = [splits[i] for i in changes]
        first = after.index("train")
        assert after[first:] + after[:first] == ["train", "val", "test"]
        starts.add(tuple(changes))
    assert len(starts) > 1


def test_unreadable_samples_become_findings_and_stay_out(picture: Path) -> None:
    source = make(picture, [1] * 12, ["broken", "none", *[30] * 10])
    absent = replace(source.records[2], image=picture.parent / "absent.png")
    source = replace(source, records=(*source.records[:2], absent, *source.records[3:]))
    assignment = split_source(source)
    assert len(assignment.splits) == 10
    assert "s1" in assignment.splits
    assert [(f.kind, f.severity, f.samples) for f in assignment.findings] == [
        ("unreadable", "error", ("s0",)),
        ("unreadable", "error", ("s2",)),
    ]


def test_given_splits_are_taken_and_gaps_are_said(picture: Path) -> None:
    source = make(picture, [1] * 4)
    with pytest.raises(SourceError, match="one that ships a split, but got none"):
        split_source(source, strategy="given")
    names = ("train", "test", "val", None)
    records = tuple(replace(r, split=s) for r, s in zip(source.records, names, strict=True))
    assignment = split_source(replace(source, records=records), strategy="given")
    assert dict(assignment.splits) == {"s0": "train", "s1": "test", "s2": "val"}
    assert assignment.findings[0].samples == ("s3",)


def test_layouts_have_their_own_way(picture: Path) -> None:
    source = make(picture, [1] * 4)
    ways = {name: default_strategy(replace(source, layout=name)) for name in ("isbi", "camvid")}
    assert ways == {"isbi": "contiguous", "camvid": "given"}
    assert default_strategy(source) == "random"


def test_wrong_options_and_too_few_groups_are_refused(picture: Path) -> None:
    source = make(picture, [5, 5])
    for fractions in ((0.5, 0.2, 0.2), (0, 0.5, 0.5), (1.2, -0.1, -0.1), (0.5, 0.5), (np.nan,) * 3):
        with pytest.raises(SettingsError, match="sum to 1"):
            split_source(source, fractions=fractions)
    with pytest.raises(SettingsError, match="3 or more"):
        split_source(source, folds=2)
    with pytest.raises(SettingsError, match="random, contiguous, given"):
        split_source(source, strategy="shuffled")
    with pytest.raises(SettingsError, match="with folds"):
        split_source(source, strategy="given", folds=3)
    for strategy in ("random", "contiguous"):
        with pytest.raises(SourceError, match=r"at least 3 groups, .*but got 2"):
            split_source(source, strategy=strategy)
    with pytest.raises(SourceError, match="one of the folds"):
        split_source(make(picture, [1] * 9), folds=3).for_fold(3)


@pytest.mark.parametrize(
    ("groups", "folds", "remedy"),
    [
        (2, None, ["--fractions 0.85,0.15,0 with", "--set split.fractions=[0.85,0.15,0] with"]),
        (1, None, ["--fractions 1,0,0 with", "--set split.fractions=[1,0,0] with"]),
        (4, 5, ["--folds 4 or fewer"]),
        (3, 5, ["--folds 3."]),
        (2, 3, ["no --folds and --fractions 0.85,0.15,0"]),
    ],
)
def test_too_few_groups_name_a_remedy_that_works(
    picture: Path, groups: int, folds: int | None, remedy: list[str]
) -> None:
    source = make(picture, [5] * groups)
    with pytest.raises(SourceError) as caught:
        split_source(source, folds=folds)
    assert all(part in str(caught.value) for part in remedy)
    if folds is None:
        assert "fold" not in str(caught.value)
    if folds is not None and groups >= 3:
        assert split_source(source, folds=groups).folds
        return
    shares = (1, 0, 0) if groups == 1 else (0.85, 0.15, 0)
    assert len(set(split_source(source, fractions=shares).splits.values())) == groups


def test_what_is_no_split_is_refused_even_of_nothing() -> None:
    assert Assignment({}).ids("val") == ()
    with pytest.raises(SourceError, match="one of train, val, test, but got 'valid'"):
        Assignment({}).ids("valid")


def test_nothing_readable_is_said(picture: Path) -> None:
    with pytest.raises(SourceError, match="Expected it to be whole"):
        split_source(make(picture, [1, 1, 1], ["broken"] * 3))


def test_a_real_folder_splits_without_decoding_images(tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
    for index in range(10):
        Image.new("L", (8, 8), 255 * (index % 2)).save(tmp_path / "masks" / f"{index}.png")
        whole = tmp_path / "images" / f"{index}.png"
        Image.effect_noise((8, 8), 50).save(whole)
        whole.write_bytes(whole.read_bytes()[:50])
    assignment = split_source(open_source(tmp_path))
    assert Counter(assignment.splits.values()) == {"train": 7, "val": 1, "test": 2} or Counter(
        assignment.splits.values()
    ) == {"train": 7, "val": 2, "test": 1}
