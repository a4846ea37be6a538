"""Blobs of uncertain outline, a small network that has learned them a little, and its run."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from penumbra.calibration.frozen import Frozen
from penumbra.calibration.held_out import collect
from penumbra.data.sample import Record
from penumbra.data.source import Source
from penumbra.inference.preprocess import Preprocess
from penumbra.models.storage import save_model
from penumbra.models.unet.unet import UNet

PREPROCESS = Preprocess(size=32, fit="resize", channels=1)
DETAILS = {"preprocess": PREPROCESS.model_dump(), "class_names": ["background", "blob"]}


def make_blob(number, size=32):
    """A disc whose true radius differs from what the image shows by the same step all around."""
    rng = np.random.default_rng(number)
    y, x = np.mgrid[:size, :size]
    centre, radius = rng.uniform(11, 21, 2), rng.uniform(6, 10)
    distance = np.hypot(y - centre[0], x - centre[1])
    image = 1 / (1 + np.exp((distance - radius) / 2)) + rng.normal(0, 0.1, (size, size))
    mask = distance < radius + rng.choice([-2, 2])
    return (255 * image.clip(0, 1)).astype(np.uint8)[..., None], mask.astype(np.uint8)


def source_of(pairs, groups, class_names=("background", "blob")):
    records = tuple(
        Record(f"i{n}", group, Path(f"{n}"), masks=(Path(f"{n}"),))
        for n, group in enumerate(groups)
    )
    return Source(
        "memory", Path("/nowhere"), records, class_names,
        read_image=lambda path: pairs[int(path.name)][0],
        read_mask=lambda record, size: pairs[int(record.image.name)][1],
    )  # fmt: skip


@pytest.fixture(scope="session")
def blob():
    return make_blob


@pytest.fixture(scope="session")
def make_source():
    return source_of


@pytest.fixture(scope="session")
def preprocess():
    return PREPROCESS


@pytest.fixture(scope="session")
def source():
    return source_of([make_blob(1000 + n) for n in range(16)], [f"g{n // 2}" for n in range(16)])


@pytest.fixture(scope="session")
def network():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = UNet(1, 1, width=4, depth=2).train()
        optimiser = torch.optim.Adam(net.parameters(), 0.02)
        for step in range(60):
            pairs = [make_blob(step * 8 + n) for n in range(8)]
            x = torch.tensor(np.stack([image for image, _ in pairs])).permute(0, 3, 1, 2).float()
            x = (x - x.mean((1, 2, 3), keepdim=True)) / x.std((1, 2, 3), keepdim=True)
            y = torch.tensor(np.stack([mask for _, mask in pairs])).float()
            loss = F.binary_cross_entropy_with_logits(net(x)[:, 0], y)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
    return net.eval()


@pytest.fixture(scope="session")
def frozen(network, source):
    return Frozen(network, collect(source, PREPROCESS), device="cpu")


@pytest.fixture
def make_run(tmp_path):
    """Write a run as it comes from elsewhere: weights and their description, nothing else."""

    def make(network, details=DETAILS):
        save_model(tmp_path / "run", network, details=details)
        return tmp_path / "run"

    return make


@pytest.fixture
def make_folder(tmp_path):
    """Write a folder source with its manifest, all of it validation."""
    from penumbra.data.layouts import open_source
    from penumbra.data.manifest import Assignment, write_manifest

    def make(pairs, *, groups=None):
        for n, (image, mask) in enumerate(pairs):
            group = f"g{n}" if groups is None else groups[n]
            for part, array in (("images", image), ("masks", mask * 255)):
                (tmp_path / "set" / part).mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(tmp_path / "set" / part / f"{n}_{group}.png"), array)
        found = open_source(f"folder:{tmp_path / 'set'}")
        path = tmp_path / "manifest.csv"
        write_manifest(path, found, Assignment({r.id: "val" for r in found.records}))
        if groups is not None:
            lines = path.read_text().splitlines()
            rows = [line.split(",") for line in lines]
            for row in rows[1:]:
                row[1] = row[0].rpartition("_")[2]
            path.write_text("\n".join(",".join(row) for row in rows) + "\n")
        return path

    return make
