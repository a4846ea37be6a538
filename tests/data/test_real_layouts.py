"""The layouts on the real data sets that they were written for."""

from pathlib import Path

import numpy as np
import pytest

from penumbra.data.layouts import open_source, recognise
from penumbra.data.split import split_source
from penumbra.imaging.files import read_mask_file

pytestmark = pytest.mark.real_data

SETS = {
    "dsb2018": ("dsb2018", 80, 80),
    "covid_cxr": ("covid-cxr", 100, 73),
    "nerve": ("nerve", 2323, 47),
    "camvid": ("camvid", 127, 127),
    "isbi_em": ("isbi", 30, 30),
}


@pytest.mark.parametrize("folder", SETS)
def test_every_set_is_recognised_and_its_samples_decode(real_data: Path, folder: str) -> None:
    layout, count, groups = SETS[folder]
    assert recognise(real_data / folder).name == layout
    source = open_source(real_data / folder)
    assert len(source) == count
    assert len({record.group for record in source.records}) == groups
    assert len({record.id for record in source.records}) == count
    assert source.findings == ()
    for index in range(0, count, max(1, count // 12)):
        sample = source[index]
        assert sample.image.dtype == np.uint8
        assert sample.image.shape[-1] == (3 if layout in {"dsb2018", "camvid"} else 1)
        assert sample.mask is not None


def test_covid_infections_and_lungs(real_data: Path) -> None:
    infection = open_source(f"covid-cxr:{real_data / 'covid_cxr'}")
    table = real_data / "covid_cxr" / "structure.csv"
    assert sum(record.masks == (table,) for record in infection.records) == 5
    lungs = open_source(real_data / "covid_cxr", target="lungs")
    assert sum(bool(record.masks) for record in lungs.records) == 98


def test_covid_lungs_agree_with_a_second_reader(real_data: Path) -> None:
    """Pasted at the wrong place, lungs could not overlap with another reader's by so much."""
    source = open_source(real_data / "covid_cxr", target="lungs")
    second = real_data / "covid_cxr" / "lungs_second_reader"
    lines = (second / "index.csv").read_text(encoding="utf-8").splitlines()[1:]
    partner = dict(line.rsplit(",", 1) for line in lines)
    scores = []
    for index, record in enumerate(source.records):
        if record.image.name not in partner or not record.masks or len(scores) == 12:
            continue
        other = read_mask_file(second / partner[record.image.name])
        counted = other != 127
        mine, theirs = source[index].mask[counted] == 1, other[counted] == 255
        scores.append(2 * (mine & theirs).sum() / (mine.sum() + theirs.sum()))
    assert len(scores) == 12
    assert np.mean(scores) > 0.85


def test_nerve_splits_by_subject(real_data: Path) -> None:
    source = open_source(real_data / "nerve")
    assignment = split_source(source, seed=0)
    subjects = {
        split: {name.split("_")[0] for name in assignment.ids(split)}
        for split in ("train", "val", "test")
    }
    assert not subjects["train"] & subjects["test"]
    assert not subjects["train"] & subjects["val"]
    assert not subjects["val"] & subjects["test"]
    assert abs(len(assignment.ids("train")) / 2323 - 0.7) < 0.02
