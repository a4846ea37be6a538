"""Keep what the tester said of networks of other packages, and write its table.

    python benchmarks/_foreign_record.py JUNIT.xml

Called by foreign_models.sh, in whose environment the packages are.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from xml.etree import ElementTree as ET

from _record import conditions, put_table, save

NAME = "foreign-models"
FAMILIES = {
    "TestMonaiUNet": ("monai", "`monai.networks.nets.UNet`"),
    "TestSegformer": ("transformers", "`transformers.SegformerForSemanticSegmentation`"),
    "TestSegmentationModelsPytorch": (
        "segmentation-models-pytorch",
        "`segmentation_models_pytorch.Unet`",
    ),
    "TestTorchvision": (
        "torchvision",
        "`torchvision.models.segmentation.lraspp_mobilenet_v3_large`",
    ),
}


def outcomes(path: str) -> dict[str, dict[str, int]]:
    """Count passed, failed and skipped tests of each family."""
    found = {name: {"passed": 0, "failed": 0, "skipped": 0} for name in FAMILIES}
    # The file is pytest's own, written a moment ago by foreign_models.sh.
    for case in ET.parse(path).getroot().iter("testcase"):  # noqa: S314
        name = case.get("classname", "").rpartition(".")[2]
        if name in found:
            kinds = {child.tag for child in case}
            failed = kinds & {"failure", "error"}
            found[name]["failed" if failed else "skipped" if kinds else "passed"] += 1
    return found


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "not installed"


def table(rows: list[dict[str, Any]], where: dict[str, Any]) -> str:
    """Write the table."""
    lines = ["| network | package | passed | failed | skipped |", "| --- | --- | --- | --- | --- |"]
    lines += [
        f"| {row['network']} | {row['package']} {row['version']} | {row['passed']} "
        f"| {row['failed']} | {row['skipped']} |"
        for row in rows
    ]
    versions = where["versions"]
    return "\n".join(lines) + (
        f"\n\n*{where['machine']}, Penumbra {versions['penumbra']}, torch {versions['torch']}, "
        f"{where['date']}.*"
    )


def main() -> None:
    """Keep the outcomes and write the table."""
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    rows = [
        {"network": network, "package": package, "version": _version(package), **counts}
        for (package, network), counts in zip(
            FAMILIES.values(), outcomes(sys.argv[1]).values(), strict=True
        )
    ]
    where = conditions()
    save(NAME, {"rows": rows, "conditions": where})
    put_table(NAME, table(rows, where))


if __name__ == "__main__":
    main()
