"""Patients of DICOM files as groups, under pseudonyms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

from penumbra.data.layouts.pairs import some
from penumbra.data.sample import Finding, Record
from penumbra.errors import ImageFileError
from penumbra.imaging.formats import DICOM_SUFFIXES


def grouped_by_patient(
    records: Sequence[Record], *, keep_identifiers: bool
) -> tuple[tuple[Record, ...], tuple[Finding, ...]]:
    """Give records of DICOM images their patient as group and their pixel spacing.

    Only headers are read. Records that were of one group stay in one. A file whose header cannot
    be read, or names no patient, keeps its group; what is wrong with it shows when it is read.

    Args:
        records: records as a layout lists them; images of other formats are left alone.
        keep_identifiers: name groups by the ids in the files instead of by pseudonyms.

    Raises:
        MissingExtraError: there is a DICOM image, and the extra ``[dicom]`` is not installed.
    """
    headers = _headers(records, keep_identifiers=keep_identifiers)
    if not headers:
        return tuple(records), ()
    patients = {
        record.group: headers[record.id].patient
        for record in records
        if record.id in headers and headers[record.id].patient
    }
    grouped = tuple(
        replace(
            record,
            group=patients.get(record.group, record.group),
            spacing=headers[record.id].spacing if record.id in headers else record.spacing,
        )
        for record in records
    )
    return grouped, _findings(headers, patients, keep_identifiers=keep_identifiers)


def _headers(records: Sequence[Record], *, keep_identifiers: bool) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for record in records:
        if record.image.suffix.lower() not in DICOM_SUFFIXES:
            continue
        # Imported late: the reader of DICOM is an extra.
        dicom = import_module("penumbra.imaging.dicom")
        try:
            found[record.id] = dicom.read_header(record.image, keep_identifiers=keep_identifiers)
        except ImageFileError:
            continue
    return found


def _findings(
    headers: dict[str, Any], patients: dict[str, str], *, keep_identifiers: bool
) -> tuple[Finding, ...]:
    findings = []
    if patients:
        count = len(set(patients.values()))
        names = "their ids" if keep_identifiers else "pseudonyms"
        message = (
            f"Images are grouped by the patient in their DICOM headers: {count} under {names}."
        )
        findings.append(Finding("grouped-by-patient", "note", (), message))
    several = tuple(name for name, header in headers.items() if header.frames > 1)
    if several:
        most = max(headers[name].frames for name in several)
        message = (
            f"{len(several)} DICOM files hold several frames, up to {most}; the first of each is "
            f"read: {some(several)}."
        )
        findings.append(Finding("several-frames", "note", several, message))
    return tuple(findings)
