"""Segmentation objects: masks that find their place on the image they refer to."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penumbra.errors import ImageFileError
from penumbra.imaging.files import read_mask_file

pydicom = pytest.importorskip("pydicom")

from penumbra.imaging.dicom import read_segmentation  # noqa: E402
from penumbra.imaging.dicom.geometry import Plane  # noqa: E402

SHAPE = (6, 8)
RNG = np.random.default_rng(2)
OBLIQUE = [0.8, 0.6, 0.0, 0.0, 0.0, -1.0]


def item(**keywords):
    made = pydicom.Dataset()
    for keyword, value in keywords.items():
        setattr(made, keyword, value)
    return made


def group(segment, position=None, source=None, frame=None):
    found = item(SegmentIdentificationSequence=[item(ReferencedSegmentNumber=segment)])
    if position is not None:
        found.PlanePositionSequence = [item(ImagePositionPatient=list(position))]
    if source is not None:
        reference = item(ReferencedSOPInstanceUID=source)
        if frame is not None:
            reference.ReferencedFrameNumber = frame
        found.DerivationImageSequence = [item(SourceImageSequence=[reference])]
    return found


@pytest.fixture
def make_seg(make_dicom):
    def make(frames, groups, *, name="seg.dcm", spacing=(1.0, 1.0), labels=("a", "b"), **keywords):
        frames = np.asarray(frames, np.uint8)
        shared = item(
            PixelMeasuresSequence=[item(PixelSpacing=list(spacing), SliceThickness=2)],
            PlaneOrientationSequence=[item(ImageOrientationPatient=OBLIQUE)],
        )
        segments = [item(SegmentNumber=i + 1, SegmentLabel=label) for i, label in enumerate(labels)]
        defaults = {
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4",
            "SegmentationType": "BINARY",
            "SegmentSequence": segments,
            "SharedFunctionalGroupsSequence": [shared],
            "PerFrameFunctionalGroupsSequence": groups,
            "NumberOfFrames": len(frames),
            "Rows": frames.shape[1],
            "Columns": frames.shape[2],
        }
        if keywords.get("SegmentationType", "BINARY") == "BINARY":
            pixels = np.packbits(frames.ravel(), bitorder="little").reshape(1, -1)
            defaults |= {"BitsAllocated": 1, "BitsStored": 1, "HighBit": 0}
        else:
            pixels = frames.reshape(-1, frames.shape[2])
        return make_dicom(pixels, name=name, **defaults | keywords)

    return make


def image(make_dicom, uid="1.2.9", position=(0, 0, 0), shape=SHAPE, **keywords):
    return make_dicom(
        np.zeros(shape, np.uint8),
        name=f"{uid}.dcm",
        SOPInstanceUID=uid,
        ImagePositionPatient=list(position),
        ImageOrientationPatient=OBLIQUE,
        PixelSpacing=keywords.pop("spacing", [1.0, 1.0]),
        **keywords,
    )


def test_the_frames_that_name_an_image_become_its_mask(make_dicom, make_seg):
    frames = RNG.integers(0, 2, (4, *SHAPE))
    groups = [group(s, (0, 0, 0), uid) for uid in ("1.2.9", "1.2.10") for s in (1, 2)]
    seg = make_seg(frames, groups)
    first, second = image(make_dicom, "1.2.9"), image(make_dicom, "1.2.10")
    for path, (one, two) in ((first, frames[:2]), (second, frames[2:])):
        expected = np.where(two, 2, one)
        np.testing.assert_array_equal(read_mask_file(seg, on=path), expected)
        np.testing.assert_array_equal(read_segmentation(seg).mask_for(path), expected)
    assert read_segmentation(seg).segments == {1: "a", 2: "b"}


def test_a_smaller_object_is_placed_where_it_lies(make_dicom, make_seg):
    small = np.ones((1, 2, 3), np.uint8)
    # Two rows down and four columns along, in the image's own directions.
    along_row, along_column = np.array(OBLIQUE[:3]), np.array(OBLIQUE[3:])
    corner = np.array([5.0, -7.0, 3.0])
    seg = make_seg(small, [group(1, corner + 4 * along_row + 2 * along_column, "1.2.9")])
    expected = np.zeros(SHAPE, np.uint8)
    expected[2:4, 4:7] = 1
    path = image(make_dicom, position=corner)
    np.testing.assert_array_equal(read_segmentation(seg).mask_for(path), expected)


def test_a_coarser_object_is_brought_to_the_images_grid(make_dicom, make_seg):
    coarse = RNG.integers(0, 2, (1, 3, 4))
    along_row, along_column = np.array(OBLIQUE[:3]), np.array(OBLIQUE[3:])
    origin = 0.5 * along_row + 0.5 * along_column
    seg = make_seg(coarse, [group(1, origin, "1.2.9")], spacing=(2.0, 2.0))
    expected = np.repeat(np.repeat(coarse[0], 2, axis=0), 2, axis=1)
    np.testing.assert_array_equal(read_segmentation(seg).mask_for(image(make_dicom)), expected)


def test_frames_without_a_reference_belong_to_the_slice_they_lie_in(make_dicom, make_seg):
    normal = np.cross(OBLIQUE[:3], OBLIQUE[3:])
    frames = RNG.integers(0, 2, (2, *SHAPE))
    seg = make_seg(frames, [group(1, (0, 0, 0)), group(1, 2 * normal)])
    second = image(make_dicom, "1.2.10", position=2 * normal)
    np.testing.assert_array_equal(read_segmentation(seg).mask_for(second), frames[1])
    with pytest.raises(ImageFileError, match="one of other images"):
        read_segmentation(seg).mask_for(image(make_dicom, "1.2.11", position=9 * normal))


def test_the_frame_of_an_image_of_several_frames_is_told_apart(make_dicom, make_seg):
    frames = RNG.integers(0, 2, (2, *SHAPE))
    groups = [group(1, None, "1.2.9", number) for number in (1, 2)]
    seg = make_seg(frames, groups)
    path = image(make_dicom, NumberOfFrames=2, Rows=3)
    found = read_segmentation(make_seg(frames[:, :3], groups))
    for frame in (0, 1):
        np.testing.assert_array_equal(found.mask_for(path, frame=frame), frames[frame, :3])
    assert [each.source_frame for each in read_segmentation(seg).frames] == [0, 1]


def test_an_object_of_another_image_is_refused(make_dicom, make_seg):
    seg = make_seg(np.ones((1, *SHAPE)), [group(1, (0, 0, 0), "1.2.77")])
    with pytest.raises(ImageFileError, match="one of other images"):
        read_mask_file(seg, on=image(make_dicom))


def test_sizes_must_agree_where_no_place_is_known(make_dicom, make_seg):
    seg = make_seg(np.ones((1, 2, 2)), [group(1, None, "1.2.9")])
    with pytest.raises(ImageFileError, match=r"6×8 .height × width., as its image, but got 2×2"):
        read_segmentation(seg).mask_for(image(make_dicom))


def test_fractions_count_from_half_and_label_maps_as_they_are(make_dicom, make_seg):
    values = np.array([[[0, 49, 50, 100]]], np.uint8)
    fractional = make_seg(
        values, [group(2)], SegmentationType="FRACTIONAL", MaximumFractionalValue=100
    )
    assert read_mask_file(fractional).tolist() == [[0, 0, 2, 2]]
    labels = np.array([[[0, 1, 2, 2]]], np.uint8)
    label_map = make_seg(
        labels,
        [item()],
        SegmentationType="LABELMAP",
        SOPClassUID="1.2.840.10008.5.1.4.1.1.66.7",
    )
    np.testing.assert_array_equal(read_mask_file(label_map), labels[0])
    outside = make_seg(labels + 5, [item()], name="outside.dcm", SegmentationType="LABELMAP")
    with pytest.raises(ImageFileError, match="damaged"):
        read_mask_file(outside)


def test_an_object_of_one_slice_is_a_mask_by_itself(make_seg):
    frames = RNG.integers(0, 2, (2, *SHAPE))
    seg = make_seg(frames, [group(1, (0, 0, 0)), group(2, (0, 0, 0))])
    np.testing.assert_array_equal(read_mask_file(seg), np.where(frames[1], 2, frames[0]))


def test_an_image_is_no_segmentation(make_dicom):
    with pytest.raises(ImageFileError, match="Try `read_dicom`"):
        read_segmentation(image(make_dicom))


@pytest.mark.real_data
def test_the_real_object_lies_on_a_slice_at_its_place(real_data, make_dicom):
    found = read_segmentation(real_data / "dicom" / "liver.dcm")
    frame = found.frames[1]
    path = make_dicom(
        np.zeros((300, 512), np.uint8),
        SOPInstanceUID=frame.instance,
        ImagePositionPatient=[-235.2, -226.8 + 100 * 0.810547, -127.69],
        ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
        PixelSpacing=[0.810547, 0.810547],
    )
    np.testing.assert_array_equal(found.mask_for(path), frame.mask[100:400])


@given(st.floats(0.2, 5), st.floats(0.2, 5), st.integers(-9, 9), st.integers(-9, 9))
def test_pixels_fall_on_themselves_wherever_a_plane_lies(row_mm, column_mm, down, along):
    directions = np.array(OBLIQUE).reshape(2, 3)
    origin = np.array([3.0, -2.0, 8.0])
    plane = Plane(origin, directions[0], directions[1], (row_mm, column_mm))
    moved = Plane(
        origin + down * row_mm * directions[1] + along * column_mm * directions[0],
        directions[0],
        directions[1],
        (row_mm, column_mm),
    )
    rows, columns = plane.pixels_on(moved, (3, 4))
    np.testing.assert_allclose(rows, np.arange(3)[:, None] + down + np.zeros((3, 4)), atol=1e-6)
    np.testing.assert_allclose(columns, np.arange(4) + along + np.zeros((3, 4)), atol=1e-6)
    assert plane.is_same_slice(moved)
