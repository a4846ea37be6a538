"""Edges as prompts, against grey-scale reconstruction and against shapes whose inside is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage
from skimage.morphology import reconstruction

from penumbra.data.layouts import open_source
from penumbra.errors import ImageFileError, SettingsError
from penumbra.imaging.filters import FilterChain
from penumbra.promptable.edge_prompts import edge_prompts, points_inside
from penumbra.promptable.enclosed import barrier, likely_inside
from penumbra.promptable.prompts import Prompts

SIZE = (96, 128)


def chain(name="sobel", *before, **settings):
    return FilterChain.parse([*before, {name: {"mode": "prompt", **settings}}])


def ellipse(cx, cy, rx, ry, size=SIZE):
    y, x = np.mgrid[: size[0], : size[1]]
    return ((x + 0.5 - cx) / rx) ** 2 + ((y + 0.5 - cy) / ry) ** 2 <= 1


def two_objects(dtype=np.uint8):
    """A bright and a fainter object on a soft, noisy ground."""
    rng = np.random.default_rng(0)
    image = 60 + ndimage.gaussian_filter(rng.normal(0, 12, SIZE), 2)
    large, small = ellipse(40, 45, 22, 16), ellipse(98, 55, 12, 15)
    image = ndimage.gaussian_filter(image + 70 * large + 45 * small, 1)
    return np.rint(image).astype(dtype)[..., None], large, small


def box_of(mask):
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]


def dice(one, other):
    return 2 * (one & other).sum() / (one.sum() + other.sum())


@settings(max_examples=60, deadline=None)
@given(hnp.arrays(np.int8, st.tuples(st.integers(1, 14), st.integers(1, 14)),
                  elements=st.integers(0, 8)))  # fmt: skip
def test_the_barrier_is_the_grey_scale_filling_of_holes(steps):
    edges = (steps / 8).astype(np.float32)
    padded = np.pad(edges.astype(np.float64), 1)
    seed = np.where(np.pad(np.zeros(edges.shape, bool), 1, constant_values=True), padded, 1.0)
    cross = ndimage.generate_binary_structure(2, 1)
    reference = reconstruction(seed, padded, method="erosion", footprint=cross)[1:-1, 1:-1]
    np.testing.assert_allclose(barrier(edges, levels=8), reference)


def test_the_barrier_of_a_point_is_that_of_its_own_area():
    edges = np.zeros((20, 40), np.float32)
    for left, strength in ((4, 0.5), (24, 1.0)):
        edges[4:15, left : left + 11] = strength
        edges[5:14, left + 1 : left + 10] = 0
    found = barrier(edges, point=(9, 9))
    assert found[9, 9] == 0.5
    assert not found[:, 20:].any()
    assert not barrier(edges, point=(0, 0)).any()


@pytest.mark.parametrize("name", ["sobel", "canny", "log"])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
def test_boxes_give_the_inside_of_each_object(name, dtype):
    image, large, small = two_objects(dtype)
    prompts = Prompts.of(boxes=[box_of(large), box_of(small)], size=SIZE)
    found = edge_prompts(chain(name), image, prompts)
    assert found.masks.shape == (2, *SIZE)
    assert found.masks.dtype == np.float32
    assert not found.masks_are_logits
    assert found.masks.min() >= 0
    assert found.masks.max() <= 1
    np.testing.assert_array_equal(found.boxes, prompts.boxes)
    for likely, truth in zip(found.masks, (large, small), strict=True):
        assert dice(likely >= 0.5, truth) > (0.8 if name == "log" else 0.88)
        assert not likely[~_filled(box_of(truth))].any()


def _filled(box):
    mask = np.zeros(SIZE, bool)
    mask[box[1] : box[3], box[0] : box[2]] = True
    return mask


def test_a_point_says_which_object_is_meant():
    image, large, small = two_objects()
    prompts = Prompts.of(points=[[[40, 45]], [[98, 55]]], size=SIZE)
    found = edge_prompts(chain("sobel", sigma=1), image, prompts)
    assert dice(found.masks[0] >= 0.5, large) > 0.8
    assert dice(found.masks[1] >= 0.5, small) > 0.8


@pytest.mark.parametrize("count", [1, 3, 5])
def test_points_lie_in_the_object_and_apart(count):
    image, large, small = two_objects()
    prompts = Prompts.of(boxes=[box_of(large), box_of(small)], size=SIZE)
    found = edge_prompts(chain(form="points", points=count), image, prompts)
    assert found.masks is None
    assert found.points.shape == (2, count, 2)
    assert (found.labels == 1).all()
    for points, truth in zip(found.points, (large, small), strict=True):
        columns, rows = points.astype(int).T
        assert truth[rows, columns].all()
        away = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
        assert (away[~np.eye(count, dtype=bool)] > 3).all()


def test_points_are_added_to_those_that_are_there():
    image = two_objects()[0]
    prompts = Prompts.of(points=[[[40, 45], [5, 5]], [[98, 55], [6, 6]]],
                         labels=[[1, 0], [1, 0]], size=SIZE)  # fmt: skip
    found = edge_prompts(chain(form="points", points=2), image, prompts)
    np.testing.assert_array_equal(found.points[:, :2], prompts.points)
    assert found.labels.tolist() == [[1, 0, 1, 1]] * 2


def test_without_prompts_the_whole_image_is_one():
    image = np.zeros((*SIZE, 1), np.uint8)
    image[ellipse(60, 50, 30, 25)] = 180
    found = edge_prompts(chain(), image)
    assert len(found) == 1
    assert found.boxes is None
    assert dice(found.masks[0] >= 0.5, ellipse(60, 50, 30, 25)) > 0.9


def test_gaps_in_an_edge_are_closed():
    edges = np.zeros(SIZE, np.float32)
    ring = ellipse(60, 45, 30, 25) & ~ellipse(60, 45, 28, 23)
    edges[ring] = 1
    edges[43:46, 80:] = 0
    assert likely_inside(edges)[45, 60] == 1
    assert likely_inside(edges, gap=0)[45, 60] < 1


def test_large_images_are_followed_small_and_keep_their_lines():
    size = (700, 900)
    edges = np.zeros(size, np.float32)
    edges[ellipse(450, 350, 200, 150, size) & ~ellipse(450, 350, 198, 148, size)] = 1
    found = likely_inside(edges, box=(240, 190, 660, 510))
    assert found.shape == size
    assert dice(found >= 0.5, ellipse(450, 350, 200, 150, size)) > 0.95


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("name", ["sobel", "canny", "log"])
def test_a_constant_image_leaves_the_box_open(name, dtype):
    image = np.full((*SIZE, 1), 9, dtype)
    prompts = Prompts.of(boxes=[10, 20, 50, 60], size=SIZE)
    found = edge_prompts(chain(name), image, prompts)
    inside = _filled([10, 20, 50, 60])
    np.testing.assert_array_equal(found.masks[0], np.where(inside, np.float32(0.5), 0))
    middle = edge_prompts(chain(name, form="points", points=1), image, prompts)
    assert np.abs(middle.points[0, 0] - [30, 40]).max() <= 1


def test_filters_before_the_prompt_change_where_edges_are():
    image, large, _ = two_objects(np.uint16)
    image[0, 0] = 60000  # one hot pixel; the window takes it away
    prompts = Prompts.of(boxes=[box_of(large)], size=SIZE)
    found = edge_prompts(chain("canny", "window"), image, prompts)
    assert dice(found.masks[0] >= 0.5, large) > 0.88


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 40), st.integers(1, 40), st.just(1))),
    st.data(),
)
def test_any_image_and_box_give_prompts_that_are_valid(image, data):
    height, width = image.shape[:2]
    x0, y0 = data.draw(st.floats(0, width - 0.5)), data.draw(st.floats(0, height - 0.5))
    box = [x0, y0, x0 + data.draw(st.floats(0.25, 50)), y0 + data.draw(st.floats(0.25, 50))]
    prompts = Prompts.of(boxes=box, size=(height, width))
    mask = edge_prompts(chain(), image, prompts)
    assert Prompts.of(boxes=mask.boxes, mask=mask.masks, size=mask.size).masks.max() >= 0.5
    points = edge_prompts(chain(form="points", points=4), image, prompts)
    again = Prompts.of(points=points.points, labels=points.labels, size=points.size)
    assert again.labels[0, 0] == 1
    np.testing.assert_array_equal(mask.masks, edge_prompts(chain(), image, prompts).masks)


def test_an_area_of_few_pixels_has_few_points():
    likely = np.zeros((5, 5), np.float32)
    likely[2, 2:4] = 1
    points, labels = points_inside(likely, 4)
    assert labels.tolist() == [1, 1, -1, -1]
    assert points[:2].tolist() == [[2, 2], [3, 2]]
    assert points_inside(np.zeros((3, 3), np.float32), 2)[1].tolist() == [-1, -1]


def test_what_does_not_fit_together_is_refused():
    image, large, _ = two_objects()
    boxes = Prompts.of(boxes=[box_of(large)], size=SIZE)
    with pytest.raises(SettingsError, match="mode: prompt"):
        edge_prompts(FilterChain.parse("sobel"), image, boxes)
    with pytest.raises(SettingsError, match="on this image of 128×96"):
        edge_prompts(chain(), image, Prompts.of(boxes=[0, 0, 9, 9], size=(40, 40)))
    masked = Prompts.of(boxes=[box_of(large)], mask=large.astype(np.float32), size=SIZE)
    with pytest.raises(SettingsError, match="without a mask"):
        edge_prompts(chain(), image, masked)
    assert edge_prompts(chain(form="points"), image, masked).masks is not None
    with pytest.raises(ImageFileError, match="finite"):
        edge_prompts(chain(), np.full((*SIZE, 1), np.nan, np.float32), boxes)


@pytest.mark.parametrize("form", ["mask", "points"])
def test_a_promptable_model_takes_them(tiny_sam, form):
    from penumbra.promptable.segmenter import PromptableSegmenter

    segmenter = PromptableSegmenter.from_pretrained(tiny_sam, precision="float32", device="cpu")
    image, large, small = two_objects()
    filters = chain("sobel", "clahe", form=form)
    embedding = segmenter.embed(image, filters=filters)
    # The prompt changes no pixel, and so makes no embedding of its own.
    assert embedding.key == segmenter.embed(image, filters=["clahe"]).key
    boxes = Prompts.of(boxes=[box_of(large), box_of(small)], size=SIZE)
    plain = segmenter.predict_prompts(embedding, boxes)
    helped = segmenter.predict_prompts(embedding, edge_prompts(filters, image, boxes))
    assert [one.mask.shape for one in helped] == [SIZE] * 2
    for one, other in zip(plain, helped, strict=True):
        assert np.abs(one.probabilities - other.probabilities).max() > 1e-6


@pytest.mark.real_data
def test_edges_of_real_nuclei_say_more_than_their_boxes(real_data):
    source = open_source(f"dsb2018:{real_data / 'dsb2018'}")
    filled, inside = [], []
    enclosed = {"sobel": [], "canny": []}
    for index in range(0, len(source), max(1, len(source) // 6)):
        sample = source[index]
        labels, _ = ndimage.label(sample.mask == 1)
        truths = [labels == number for number in range(1, min(9, labels.max() + 1))]
        truths = [truth for truth in truths if truth.sum() >= 60]
        if not truths:
            continue
        size = sample.image.shape[:2]
        prompts = Prompts.of(boxes=[box_of(truth) for truth in truths], size=size)
        for name, scores in enclosed.items():
            masks = edge_prompts(chain(name), sample.image, prompts).masks
            scores += [dice(m >= 0.5, truth) for m, truth in zip(masks, truths, strict=True)]
        points = edge_prompts(chain(form="points", points=1), sample.image, prompts).points
        for truth, (point,) in zip(truths, points, strict=True):
            box = np.zeros(size, bool)
            x0, y0, x1, y1 = box_of(truth)
            box[y0:y1, x0:x1] = True
            filled.append(dice(box, truth))
            inside.append(truth[int(point[1]), int(point[0])])
    assert len(filled) > 15
    for scores in enclosed.values():
        assert np.median(scores) > np.median(filled) + 0.03
    assert np.mean(inside) > 0.9
