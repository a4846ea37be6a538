"""Export of images that people made: what is opened again is what was written."""

from pathlib import Path

import numpy as np
import pytest

from penumbra.data.export import export_source
from penumbra.data.layouts import open_source
from penumbra.data.sample import Sample
from penumbra.data.source import Source


def in_order(source: Source, form: str) -> list[Sample]:
    # Frames of the nerve challenge are numbered in the order of the source.
    return list(source) if form == "nerve" else sorted(source, key=lambda sample: sample.id)


@pytest.mark.real_data
def test_real_images_of_several_sets_survive_every_form(real_data: Path, tmp_path: Path) -> None:
    for layout, target in (("dsb2018", None), ("covid-cxr", "lungs"), ("camvid", None)):
        root = real_data / layout.replace("-", "_")
        whole = open_source(f"{layout}:{root}", target=target)
        source = whole.subset([i for i, r in enumerate(whole.records) if r.masks][:2])
        is_binary = source.class_names[0] == "background" and source.n_classes == 2
        assert is_binary == (layout != "camvid")
        for form in ("folder", "coco", "nerve"):
            out = tmp_path / layout / form
            assert export_source(source, out, form=form).samples == len(source)
            again = open_source(f"{form}:{out}")
            if form == "nerve" and not is_binary:
                continue
            assert form == "nerve" or again.class_names == source.class_names
            for one, two in zip(*(in_order(each, form) for each in (source, again)), strict=True):
                assert np.array_equal(one.mask, two.mask), (layout, form)
                assert form == "nerve" or np.array_equal(one.image, two.image)
