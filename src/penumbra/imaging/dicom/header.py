"""What a DICOM file says of its pixels, read and checked before any of them is decoded."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from pydicom.config import IGNORE
from pydicom.uid import UID

from penumbra.errors import ImageFileError, expected
from penumbra.imaging.dicom.elements import Elements
from penumbra.imaging.dicom.identity import pseudonym
from penumbra.imaging.dicom.luts import voi_luts
from penumbra.imaging.dicom.parsing import Parsed, parsed
from penumbra.imaging.dicom.windows import Window, WindowFunction
from penumbra.imaging.limits import Limits, damaged

SpacingKind = Literal["patient", "detector"]
Identity = Literal["none", "pseudonym", "id"]
_BITS = {"integer": (1, 8, 16, 32), "float32": (32,), "float64": (64,)}
_GREY = ("MONOCHROME1", "MONOCHROME2", "PALETTE COLOR")
_COLOUR = (
    "RGB",
    "YBR_FULL",
    "YBR_FULL_422",
    "YBR_PARTIAL_422",
    "YBR_PARTIAL_420",
    "YBR_ICT",
    "YBR_RCT",
)


@dataclass(frozen=True, kw_only=True)
class DicomHeader:
    """What is known of a DICOM image without decoding it.

    Attributes:
        height: rows.
        width: columns.
        frames: number of frames, 1 or more.
        samples: samples per pixel, 1 or 3.
        photometric: what the samples mean, such as ``"MONOCHROME2"``.
        bits_allocated: bits that a sample takes in the file.
        bits_stored: bits of a sample that are used.
        high_bit: the highest bit used.
        is_signed: whether samples are two's complement.
        is_planar: whether one colour's plane follows the other.
        kind: ``"integer"``, ``"float32"`` or ``"float64"``.
        syntax: transfer syntax UID.
        modality: such as ``"CT"``; empty where not given.
        sop_class: SOP class UID.
        spacing: millimetres per pixel (row, column), or ``None``.
        spacing_kind: measured in the patient, or on the detector (magnified); ``None`` without.
        windows: the file's windows for the frame, in its order.
        voi_luts: names of the file's VOI LUTs, empty strings where they have none.
        patient: a pseudonym (`penumbra.imaging.dicom.identity`), or the id itself where asked;
            empty where the file has none.
        instance: SOP instance UID. Not an identity by itself, but whoever has the archive can
            look it up: treat it like a file name of the clinic.
        study: study instance UID; the same holds.
    """

    height: int
    width: int
    frames: int
    samples: int
    photometric: str
    bits_allocated: int
    bits_stored: int
    high_bit: int
    is_signed: bool
    is_planar: bool
    kind: str
    syntax: str
    modality: str
    sop_class: str
    spacing: tuple[float, float] | None
    spacing_kind: SpacingKind | None
    windows: tuple[Window, ...]
    voi_luts: tuple[str, ...]
    patient: str
    instance: str
    study: str

    @property
    def is_colour(self) -> bool:
        """Whether a pixel has three samples."""
        return self.samples == 3


def read_header(
    path: str | Path,
    *,
    frame: int = 0,
    keep_identifiers: bool = False,
    limits: Limits | None = None,
) -> DicomHeader:
    """Read what a DICOM file says of its image; no pixel is decoded.

    Args:
        path: the file.
        frame: which frame's spacing and windows, where they differ.
        keep_identifiers: give the patient's id itself instead of a pseudonym.
        limits: the largest image that is accepted.

    Raises:
        ImageFileError: the file is missing, damaged, without pixels, of a kind that is not read,
            or over the limits. The text quotes nothing that names a patient.
    """
    file = Path(path)
    with parsed(file, limits or Limits()) as opened:
        identity: Identity = "id" if keep_identifiers else "pseudonym"
        return header_of(file, opened, limits=limits or Limits(), frame=frame, identity=identity)


def header_of(
    path: Path,
    file: Parsed,
    *,
    limits: Limits,
    frame: int = 0,
    identity: Identity = "none",
) -> DicomHeader:
    """Build and check the header of a parsed file; see `read_header`."""
    elements = file.elements
    if file.pixels is None:
        raise _without_pixels(path, elements)
    allocated = elements.whole("BitsAllocated", 0)
    stored = elements.whole("BitsStored", allocated)
    spacing, spacing_kind = _spacing(elements, frame)
    header = DicomHeader(
        height=elements.whole("Rows", 0),
        width=elements.whole("Columns", 0),
        frames=elements.whole("NumberOfFrames", 1) or 1,
        samples=elements.whole("SamplesPerPixel", 1),
        photometric=elements.text("PhotometricInterpretation") or "MONOCHROME2",
        bits_allocated=allocated,
        bits_stored=stored,
        high_bit=elements.whole("HighBit", stored - 1),
        is_signed=elements.whole("PixelRepresentation", 0) == 1,
        is_planar=elements.whole("PlanarConfiguration", 0) == 1,
        kind=file.pixels.kind,
        syntax=file.syntax,
        modality=elements.text("Modality"),
        sop_class=elements.text("SOPClassUID"),
        spacing=spacing,
        spacing_kind=spacing_kind,
        windows=windows_of(elements, frame),
        voi_luts=tuple(lut.name for lut in voi_luts(elements, is_signed=False)),
        patient=_patient(elements, identity),
        instance=elements.text("SOPInstanceUID"),
        study=elements.text("StudyInstanceUID"),
    )
    _check(path, header, limits)
    if not 0 <= frame < header.frames:
        raise ImageFileError(
            expected(
                f"the frame of {path}",
                f"0 to {header.frames - 1}",
                frame,
                "one of these; the first frame is 0",
            )
        )
    return header


def _patient(elements: Elements, identity: Identity) -> str:
    # Without need no key is asked for: reading a picture leaves nothing behind.
    if identity == "none":
        return ""
    patient = elements.text("PatientID")
    if identity == "id":
        return patient
    return pseudonym(patient, issuer=elements.text("IssuerOfPatientID"))


def scopes(elements: Elements, frame: int, sequence: str) -> list[Elements]:
    """Give where a frame's attributes may stand, nearest first.

    That is the frame's own group of that name, the group that all frames share, the top level.
    """
    per_frame = elements.items("PerFrameFunctionalGroupsSequence")
    near = per_frame[frame : frame + 1] + elements.items("SharedFunctionalGroupsSequence")[:1]
    groups = [item for scope in near for item in scope.items(sequence)[:1]]
    return [*groups, elements]


def windows_of(elements: Elements, frame: int) -> tuple[Window, ...]:
    """Read the windows of one frame; widths that mean nothing are left out."""
    for scope in scopes(elements, frame, "FrameVOILUTSequence"):
        centers, widths = scope.numbers("WindowCenter"), scope.numbers("WindowWidth")
        if not centers:
            continue
        names = scope.texts("WindowCenterWidthExplanation")
        name = scope.text("VOILUTFunction").upper() or "LINEAR"
        function = cast(WindowFunction, name if name in get_args(WindowFunction) else "LINEAR")
        found = (
            Window(center, width, names[index] if index < len(names) else "", function)
            for index, (center, width) in enumerate(zip(centers, widths, strict=False))
        )
        return tuple(window for window in found if window.is_valid)
    return ()


def _spacing(
    elements: Elements, frame: int
) -> tuple[tuple[float, float] | None, SpacingKind | None]:
    kinds: dict[str, SpacingKind] = {
        "PixelSpacing": "patient",
        "ImagerPixelSpacing": "detector",
        "NominalScannedPixelSpacing": "detector",
    }
    for keyword, kind in kinds.items():
        for scope in scopes(elements, frame, "PixelMeasuresSequence"):
            values = scope.numbers(keyword)
            if len(values) == 2 and all(math.isfinite(v) and v > 0 for v in values):
                return (float(values[0]), float(values[1])), kind
    return None, None


def _check(path: Path, header: DicomHeader, limits: Limits) -> None:
    depth = max(1, header.bits_allocated // 8)
    limits.check_size(
        path, header.height, header.width, bytes_per_pixel=depth * max(1, header.samples)
    )
    if header.frames < 1:
        raise damaged(path, f"{header.frames} frames")
    known = _COLOUR if header.is_colour else _GREY
    if header.samples not in {1, 3} or header.photometric not in known:
        raise ImageFileError(
            expected(
                str(path),
                "MONOCHROME1, MONOCHROME2, PALETTE COLOR, RGB or YBR",
                f"{header.samples} samples per pixel in another colour space",
                "exporting it as one of these, or as PNG",
            )
        )
    bits = _BITS[header.kind]
    fits = header.kind != "integer" or (
        1 <= header.bits_stored <= header.bits_allocated
        and header.bits_stored - 1 <= header.high_bit < header.bits_allocated
    )
    if header.bits_allocated not in bits or not fits:
        raise ImageFileError(
            expected(
                str(path),
                f"of {' or '.join(map(str, bits))} bits per sample",
                f"{header.bits_stored} bits up to bit {header.high_bit} of {header.bits_allocated}",
                "exporting it with 8 or 16 bits",
            )
        )


def _without_pixels(path: Path, elements: Elements) -> ImageFileError:
    if elements.whole("Rows", 0):
        return damaged(path, "it ends before its pixels", truncated=True)
    # Told to validate, pydicom would warn of an odd UID by quoting it. Of those that the standard
    # lists, the name is said; anything else is not repeated.
    uid = UID(elements.text("SOPClassUID"), validation_mode=IGNORE)
    name = uid.name if uid.name != str(uid) and uid.type == "SOP Class" else "no image"
    return ImageFileError(
        expected(
            str(path),
            "a DICOM image",
            f"a DICOM file without pixels ({name})",
            "leaving it out of the images",
        )
    )
