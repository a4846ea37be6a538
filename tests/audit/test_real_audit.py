"""The audit on real sets: what is known of them is found, and scores match an independent count."""

import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from penumbra.audit.audit import audit
from penumbra.audit.disagreement import disagreement
from penumbra.data.layouts import open_source
from penumbra.data.layouts.second_reader import second_lung_reader
from penumbra.imaging.files import read_size

pytestmark = pytest.mark.real_data


@pytest.fixture(scope="module")
def nerve(real_data):
    return audit(open_source(f"nerve:{real_data / 'nerve'}"), workers=2)


def test_nerve_has_24_groups_of_equal_files_and_534_near_pairs(nerve):
    assert len(nerve.scan) == 2323
    assert len(nerve.pairs) == 534
    groups = Counter(group.level for group in nerve.groups)
    assert groups["bytes"] == 24
    assert groups["pixels"] == 0


def test_8_groups_straddle_the_shipped_split_and_2_lie_under_two_subjects(nerve):
    crossing = Counter((leak.between, leak.level) for leak in nerve.leaks)
    assert crossing["splits", "bytes"] == 8
    assert crossing["groups", "bytes"] == 2
    named = {f.samples for f in nerve.findings if f.kind == "two-groups" and "17_7" in f.samples}
    assert named == {("17_7", "18_44")}


def test_conflict_scores_match_dice_computed_alone(nerve):
    masks = {record.id: record.masks[0] for record in nerve.scan.source.records}
    assert nerve.conflicts
    for pair in nerve.compared:
        a, b = (np.asarray(Image.open(masks[name])) > 127 for name in (pair.a, pair.b))
        dice = 2 * np.sum(a & b) / (a.sum() + b.sum())
        assert pair.dice == pytest.approx(dice)
        assert pair.score == pytest.approx((1 - pair.rms / 5) * (1 - dice))
    equal = [pair.dice for pair in nerve.compared if pair.level == "bytes"]
    assert min(equal) == 0.0
    assert 0.9 < max(equal) < 1.0


def test_the_report_draws_the_worst_conflicts(nerve, tmp_path):
    started = time.process_time()
    text = nerve.write(tmp_path).read_text(encoding="utf-8")
    assert "534 pairs are alike" in text.replace("\u202f", " ")
    assert text.count("<article") == 16
    # Both drawings and the bare image of each, the masks, the difference.
    assert text.count("data:image/jpeg") == 16 * 6 + 1
    assert time.process_time() - started < 20


def of_two_readers(source, records, other):
    """Each image stands twice, once for either reader."""
    again = [replace(record, id=f"{record.id}_again") for record in records]

    def read(record, size):
        return other(record) if record.id.endswith("_again") else source.read_mask(record, size)

    return replace(source, records=(*records, *again), read_mask=read, findings=())


def test_two_readers_of_one_set(real_data):
    source = open_source(f"covid-cxr:{real_data / 'covid_cxr'}", target="lungs")
    other = second_lung_reader(source.root)
    records = [record for record in source.records if other(record) is not None and record.masks]
    assert len(records) > 40
    dice = [
        disagreement(
            source.read_mask(record, read_size(record.image)), other(record), classes=(1,)
        ).dice
        for record in records
    ]
    assert np.median(dice) == pytest.approx(0.95, abs=0.005)
    found = audit(of_two_readers(source, records[:3], other), threshold=0.0)
    assert {pair.level for pair in found.compared} == {"bytes"}
    assert [pair.dice for pair in found.compared] == pytest.approx(dice[:3])
