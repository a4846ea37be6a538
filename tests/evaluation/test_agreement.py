"""Several readers, area intervals and the true probability against plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from penumbra.data.layouts import open_source
from penumbra.data.phantom import phantom_sample
from penumbra.data.phantom.read import read_readers, read_truth
from penumbra.data.phantom.write import make_phantom
from penumbra.data.sample import Record
from penumbra.errors import SourceError
from penumbra.evaluation.agreement import AGREEMENT, agreement_scores, sample_masks, tally_agreement
from penumbra.evaluation.areas import area_scores, tally_areas
from penumbra.evaluation.readers import readers_of, true_probability_of
from penumbra.evaluation.shift import ShiftedSource, parse_shifts
from penumbra.evaluation.sums import combine
from penumbra.evaluation.true_probability import AGAINST_TRUTH, tally_truth, truth_scores
from penumbra.inference.prediction import Prediction, Samples


def _iou_dice(a, b, scored):
    known = (a != 255) & (b != 255)
    ious, dices = [], []
    for c in scored:
        x, y = (a == c) & known, (b == c) & known
        both, either = (x & y).sum(), (x | y).sum()
        ious.append(both / either if either else 1.0)
        dices.append(2 * both / (x.sum() + y.sum()) if either else 1.0)
    return np.mean(ious), np.mean(dices)


def _distance(some, others, scored):
    return np.mean([[1 - _iou_dice(a, b, scored)[0] for b in others] for a in some])


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([2, 3]), st.integers(1, 4), st.booleans())
def test_agreement_agrees_with_plain_loops(seed, n_classes, k, ignored):
    rng = np.random.default_rng(seed)
    readers, samples = (rng.integers(0, n_classes, (m, 5, 6)).astype(np.uint8) for m in (3, k))
    if ignored:
        readers[:, rng.uniform(size=(5, 6)) < 0.2] = 255
    scored = range(1, n_classes)
    ged, best, matched, within, between = agreement_scores(
        tally_agreement(readers, samples, scored=scored)
    )
    s = np.where(readers[0] == 255, 255, samples)
    assert within == pytest.approx(_distance(s, s, scored))
    assert between == pytest.approx(_distance(readers, readers, scored))
    assert ged == pytest.approx(2 * _distance(s, readers, scored) - within - between)
    closest = [max(_iou_dice(a, r, scored)[1] for a in s) for r in readers]
    assert best == pytest.approx(np.mean(closest))
    assert matched == pytest.approx(np.mean(np.array(closest) >= 0.9))


def test_the_readers_themselves_are_the_best_samples():
    readers = phantom_sample("ultrasound", size=48, index=0).readers
    own = dict(zip(AGREEMENT, agreement_scores(tally_agreement(readers, readers, scored=[1])),
                   strict=True))  # fmt: skip
    one = agreement_scores(tally_agreement(readers, readers[:1], scored=[1]))
    assert own["ged"] == pytest.approx(0, abs=1e-12)
    assert own["best_dice"] == own["matched"] == 1
    assert one[0] > own["ged"]
    assert one[3] == 0


def test_one_reader_is_not_several():
    mask = np.ones((1, 4, 4), np.uint8)
    for readers in (None, mask):
        assert np.isnan(agreement_scores(tally_agreement(readers, mask, scored=[1]))).all()


def test_samples_become_masks_of_the_likeliest_class():
    planes = np.random.default_rng(0).dirichlet(np.ones(3), (4, 6, 6)).transpose(0, 3, 1, 2)
    planes = planes.astype(np.float32)
    mask = np.zeros((6, 6), np.uint8)
    with_samples = Prediction(planes.mean(0), mask, {}, passes=4, samples=Samples(planes, (6, 6)))
    np.testing.assert_array_equal(sample_masks(with_samples), planes.argmax(axis=1))
    np.testing.assert_array_equal(sample_masks(Prediction(planes[0], mask, {})), mask[None])


@given(st.integers(0, 10**6))
@settings(max_examples=25, deadline=None)
def test_areas_agree_with_counting(seed):
    rng = np.random.default_rng(seed)
    names, rows, sums = ("back", "lung"), [], None
    for _ in range(8):
        truth = (rng.uniform(size=(5, 5)) < rng.choice([0, 0.4])).astype(np.uint8)
        if rng.uniform() < 0.2:
            truth[0, 0] = 255  # its area is not known
        low, high = sorted(rng.integers(0, 25, 2))
        estimate = (low + high) / 2
        one = tally_areas(truth, {"lung": (float(low), estimate, float(high))}, names)
        sums = one if sums is None else combine(np.add, sums, one)
        if not (truth == 255).any():
            rows.append((int((truth == 1).sum()), low, estimate, high))
    found = area_scores(sums)
    assert np.isnan(found[0]).all()
    if not rows:
        assert np.isnan(found[1]).all()
        return
    coverage, width, relative, off = found[1]
    assert coverage == pytest.approx(np.mean([low <= a <= high for a, low, _, high in rows]))
    assert width == pytest.approx(np.mean([high - low for _, low, _, high in rows]))
    assert off == pytest.approx(np.mean([abs(e - a) for a, _, e, _ in rows]))
    shown = [(high - low) / a for a, low, _, high in rows if a]
    assert math.isnan(relative) if not shown else relative == pytest.approx(np.mean(shown))


def test_the_expected_scores_are_means_over_masks():
    """Averaged over many masks drawn from q, NLL and Brier come to what is expected."""
    rng = np.random.default_rng(0)
    q, p = rng.uniform(size=(2, 8, 8))
    truth = np.zeros((8, 8), np.uint8)
    found = dict(zip(AGAINST_TRUTH, truth_scores(tally_truth(q, np.stack([1 - p, p]), truth)),
                     strict=True))  # fmt: skip
    drawn = rng.uniform(size=(20000, 8, 8)) < q
    nll = -np.where(drawn, np.log(p), np.log(1 - p)).mean()
    assert found["expected_nll"] == pytest.approx(nll, rel=0.01)
    assert found["expected_brier"] == pytest.approx(np.square(drawn - p).mean(), rel=0.01)
    assert found["probability_error"] == pytest.approx(np.abs(p - q).mean())
    assert found["probability_bias"] == pytest.approx((p - q).mean())
    honest = truth_scores(tally_truth(q, np.stack([1 - q, q]), truth))
    assert honest[0] == pytest.approx(honest[1])
    assert honest[2] == pytest.approx(honest[3])
    assert honest[1] == pytest.approx(found["least_nll"])
    assert honest[4:].tolist() == [0, 0]


def test_phantoms_have_readers_and_a_true_probability(tmp_path):
    source = open_source(make_phantom(tmp_path / "set", count=3, size=32))
    readers, true_probability = readers_of(source), true_probability_of(source)
    for record in source.records:
        sample = phantom_sample(record.id.split("_")[0], size=32, index=0)
        np.testing.assert_array_equal(readers(record), sample.readers)
        np.testing.assert_allclose(true_probability(record), sample.truth, atol=1e-5)
    stranger = Record(id="x", group="x", image=tmp_path / "card_0000.png")
    assert read_readers(source.root, stranger) is None
    assert read_truth(source.root, stranger) is None


def test_a_shifted_source_has_no_readers(tmp_path):
    source = open_source(make_phantom(tmp_path / "set", count=3, size=32))
    shifted = ShiftedSource.of(source, parse_shifts("rotation:3")[0])
    assert readers_of(shifted)(source.records[0]) is None
    assert true_probability_of(shifted)(source.records[0]) is None


def test_a_true_probability_of_8_bits_is_refused(tmp_path):
    source = open_source(make_phantom(tmp_path / "set", count=3, size=32))
    name = source.records[0].image.name
    masks = source.root / "masks" / name
    (source.root / "truth" / name).write_bytes(masks.read_bytes())
    with pytest.raises(SourceError, match="16-bit"):
        read_truth(source.root, source.records[0])


@pytest.mark.real_data
def test_lungs_have_a_second_reader(real_data):
    source = open_source(f"covid-cxr:{real_data / 'covid_cxr'}", target="lungs")
    readers = readers_of(source)
    dice = []
    for record in source.records[:25]:
        both = readers(record)
        if both is None:
            continue
        assert both.shape[0] == 2
        assert set(np.unique(both)) <= {0, 1, 255}
        known = (both != 255).all(axis=0)
        a, b = (mask[known] == 1 for mask in both)
        dice.append(2 * (a & b).sum() / (a.sum() + b.sum()))
    assert len(dice) >= 5
    assert np.median(dice) > 0.85
    infection = open_source(f"covid-cxr:{real_data / 'covid_cxr'}", target="infection")
    assert readers_of(infection)(infection.records[0]) is None
