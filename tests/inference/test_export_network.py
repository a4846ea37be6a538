"""A run's network as one file: it says what the run says, at other sizes than it was traced at."""

import hashlib
import json
import sys

import numpy as np
import pytest
import torch

from penumbra.errors import MissingExtraError, RunError, SettingsError, StorageError
from penumbra.inference.calibration import Calibration, LinearMap, Temperature
from penumbra.inference.exported import parity
from penumbra.inference.exported.export import export_network
from penumbra.inference.exported.parity import ParityError
from penumbra.inference.predictor import Predictor
from penumbra.inference.preprocess import Preprocess
from penumbra.inference.presence import PresenceRule
from penumbra.models.catalogue import build_model
from penumbra.models.presence import attach_presence
from penumbra.models.storage import WEIGHTS_FILE, load_model, save_model
from penumbra.models.weights import digest_of

SEGFORMER = {
    "target": "transformers.SegformerForSemanticSegmentation",
    "build": "config",
    "output": "logits",
    "stride": 4,
    "keywords": {
        "num_channels": 3, "num_labels": 3, "depths": [1, 1, 1, 1],
        "hidden_sizes": [8, 8, 16, 16], "num_attention_heads": [1, 1, 2, 2],
        "mlp_ratios": [2, 2, 2, 2], "decoder_hidden_size": 16,
    },
}  # fmt: skip
MONAI = {
    "target": "monai.networks.nets.UNet",
    "multiple": 16,
    "keywords": {
        "spatial_dims": 2, "in_channels": 1, "out_channels": 1, "channels": (4, 8, 8),
        "strides": (2, 2),
    },
}  # fmt: skip
UNET = {"width": 4, "depth": 2}
VGG = {"width": 2, "decoder_width": 2}


ONLY_ONE_SIZE = """
import torch
from torch import nn

class OnlyOneSize(nn.Module):
    # A network of another package that adds what it learned for every place, as many do.
    def __init__(self, side):
        super().__init__()
        self.conv = nn.Conv2d(1, 1, 3, padding=1)
        self.place = nn.Parameter(torch.linspace(-1, 1, side * side).reshape(1, 1, side, side))

    def forward(self, x):
        return self.conv(x) + self.place
"""


def make_run(folder, name, *, channels=1, classes=1, size=64, presence=False, **arguments):
    torch.manual_seed(3)
    network = build_model(name, n_channels=channels, n_classes=classes, **arguments)
    network.train()
    with torch.no_grad():
        # Norms that have seen something, so that evaluation differs from training.
        network(torch.randn(2, channels, size, size))
    if presence:
        attach_presence(network)
    names = ["background", "thing"] if classes == 1 else [f"c{n}" for n in range(classes)]
    details = {"preprocess": Preprocess(size=size, channels=channels).model_dump()}
    save_model(folder, network.eval(), details={**details, "class_names": names})
    return folder


def random_images(*shape):
    return np.random.default_rng(7).standard_normal(shape, dtype=np.float32)


def run_pt2(path, images):
    return torch.export.load(path).module()(torch.from_numpy(images)).detach().numpy()


def run_onnx(path, images):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], {"images": images})[0]


RUN = {".pt2": run_pt2, ".onnx": run_onnx}


@pytest.mark.parametrize(
    ("name", "suffix", "shape", "classes", "arguments"),
    [
        ("unet", ".pt2", (3, 1, 40, 100), 1, UNET),
        ("unet", ".onnx", (3, 1, 40, 100), 3, UNET),
        ("noise-unet", ".pt2", (1, 1, 44, 52), 1, UNET),
        ("vgg16-unet", ".pt2", (1, 1, 160, 64), 3, VGG),
        ("wrap", ".onnx", (1, 1, 48, 112), 1, MONAI),
        ("wrap", ".pt2", (2, 3, 160, 64), 3, SEGFORMER),
    ],
)
def test_the_file_says_what_the_run_says(tmp_path, name, suffix, shape, classes, arguments):
    run = make_run(tmp_path / "run", name, channels=shape[1], classes=classes, **arguments)
    out = tmp_path / f"network{suffix}"
    record = export_network(run, out)
    assert record.sizes.fixed is record.sizes.batch is None
    assert 0 <= record.difference <= 1e-4
    images = random_images(*shape)
    found = RUN[suffix](out, images)
    network, _ = load_model(run)
    with torch.no_grad():
        logits = network(torch.from_numpy(images)).double().numpy()
    if classes == 1:
        wanted = np.concatenate([1 / (1 + np.exp(logits)), 1 / (1 + np.exp(-logits))], axis=1)
    else:
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        wanted = powers / powers.sum(axis=1, keepdims=True)
    assert found.shape == (shape[0], max(2, classes), *shape[2:])
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_by_the_record_alone_an_image_gives_the_runs_own_prediction(tmp_path):
    run = make_run(tmp_path / "run", "unet", **UNET)
    out = tmp_path / "network.pt2"
    export_network(run, out)
    record = json.loads((tmp_path / "network.pt2.json").read_text())
    assert record["normalise"]["formula"] == "(pixels - mean) / std"
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 1), dtype=np.uint8)
    pixels = image.astype(np.float32).transpose(2, 0, 1)[None]
    found = run_pt2(out, (pixels - pixels.mean()) / pixels.std())[0]
    predictor = Predictor.load(run, device="cpu", precision="fp32")
    prediction = predictor([image])[0]
    np.testing.assert_allclose(found, prediction.probabilities, atol=1e-5)
    assert np.array_equal(found[1] >= record["threshold"], prediction.mask == 1)


def local_temperature():
    """One that reads a feature of the decoder and the doubt around every pixel."""
    rng = np.random.default_rng(4)
    taps = (("up.0", 8), ("up.1", 4), ("logits:1", 3), ("logits:16", 3))
    return Temperature(
        kind="local",
        values=(1.5,),
        map=LinearMap(
            taps=tuple(name for name, _ in taps),
            mean=tuple((0.1,) * count for _, count in taps),
            std=tuple((0.7,) * count for _, count in taps),
            weight=tuple((tuple(map(float, rng.normal(size=count))),) for _, count in taps),
            bias=(0.2,),
        ),
    )


@pytest.mark.parametrize(
    ("temperature", "classes", "suffix"),
    [
        (Temperature(values=(2.5,)), 1, ".pt2"),
        (local_temperature(), 1, ".onnx"),
        (Temperature(kind="class", values=(1.0, 2.0, 4.0)), 3, ".onnx"),
    ],
    ids=["global", "local", "class"],
)
def test_the_temperature_is_in_the_file(tmp_path, temperature, classes, suffix):
    run = make_run(tmp_path / "run", "unet", classes=classes, **UNET)
    calibration = Calibration(
        temperature=temperature, sampler="noise:8", weights=digest_of(run / WEIGHTS_FILE)
    )
    calibration.write(run)
    record = export_network(run, tmp_path / f"network{suffix}")
    assert record.temperature == temperature
    assert any("noise:8" in sentence for sentence in record.left_out)
    image = np.random.default_rng(0).integers(0, 255, (64, 64, 1), dtype=np.uint8)
    pixels = image.astype(np.float32).transpose(2, 0, 1)[None]
    found = RUN[suffix](tmp_path / f"network{suffix}", (pixels - pixels.mean()) / pixels.std())[0]

    def of_run(**options):
        predictor = Predictor.load(
            run, sampler="deterministic", device="cpu", precision="fp32", **options
        )
        return predictor([image])[0].probabilities

    np.testing.assert_allclose(found, of_run(), atol=1e-5)
    assert np.abs(found - of_run(calibration=False)).max() > 1e-3


def test_without_its_calibration_the_logits_stay(tmp_path):
    run = make_run(tmp_path / "run", "unet", classes=3, **UNET)
    Calibration(temperature=Temperature(kind="class", values=(1.0, 2.0, 4.0))).write(run)
    plain = export_network(run, tmp_path / "plain.pt2", calibrated=False)
    assert plain.temperature is None
    assert plain.to_json()["temperature"] is None
    images = random_images(1, 1, 48, 48)
    network, _ = load_model(run)
    with torch.no_grad():
        wanted = torch.softmax(network(torch.from_numpy(images)), dim=1).numpy()
    np.testing.assert_allclose(run_pt2(plain.file, images), wanted, atol=1e-5)


def test_a_presence_head_is_left_out_and_said(tmp_path):
    run = make_run(tmp_path / "run", "unet", presence=True, **UNET)
    PresenceRule(score="head", threshold=0.5).write(run)
    record = export_network(run, tmp_path / "network.pt2")
    assert any("presence rule" in sentence for sentence in record.left_out)
    assert not [k for k in torch.export.load(record.file).state_dict if "presence" in k]


def test_a_network_of_one_size_is_exported_at_that_size(tmp_path, monkeypatch):
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "only_one_size.py").write_text(ONLY_ONE_SIZE)
    monkeypatch.syspath_prepend(tmp_path / "code")
    run = make_run(
        tmp_path / "run", "wrap", target="only_one_size.OnlyOneSize",
        keywords={"side": 64}, multiple=64,
    )  # fmt: skip
    record = export_network(run, tmp_path / "network.pt2")
    assert (record.sizes.fixed, record.sizes.batch) == (64, None)
    assert any("64×64" in sentence for sentence in record.left_out)
    assert record.to_json()["input"]["shape"] == ["N", 1, 64, 64]
    assert run_pt2(record.file, random_images(3, 1, 64, 64)).shape == (3, 2, 64, 64)


def test_the_record_describes_the_file(tmp_path):
    run = make_run(tmp_path / "run", "unet", **UNET)
    out = tmp_path / "network.pt2"
    record = export_network(run, out)
    document = json.loads(record.sidecar.read_text())
    assert document == json.loads(json.dumps(record.to_json()))
    assert document["sha256"] == hashlib.sha256(out.read_bytes()).hexdigest()
    assert document["weights"] == hashlib.sha256((run / WEIGHTS_FILE).read_bytes()).hexdigest()
    assert document["class_names"] == ["background", "thing"]
    assert document["input"]["shape"] == ["N", 1, "H", "W"]
    assert (document["input"]["multiple"], document["input"]["smallest"]) == (4, 8)
    compared = document["parity"]["compared"]
    assert {one["images"][0] for one in compared} == {1, 3}
    assert len({tuple(one["images"][2:]) for one in compared}) >= 2
    assert document["parity"]["largest"] == max(one["difference"] for one in compared)
    assert str(tmp_path).encode() not in out.read_bytes()
    assert b"mask_pass.py" not in out.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "network.pt2", "network.pt2.json", "run",
    ]  # fmt: skip


def test_a_file_that_says_something_else_is_not_kept(tmp_path, monkeypatch):
    run = make_run(tmp_path / "run", "unet", **UNET)
    monkeypatch.setattr(parity, "LIMIT", -1.0)
    with pytest.raises(ParityError, match=r"Expected the probabilities of the file .* Try "):
        export_network(run, tmp_path / "network.pt2")
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


@pytest.mark.parametrize("name", ["network", "network.pth", "network.PT2.zip"])
def test_other_suffixes_are_refused(tmp_path, name):
    with pytest.raises(SettingsError, match=r"FILE\.pt2 .* or FILE\.onnx"):
        export_network(tmp_path / "run", tmp_path / name)


@pytest.mark.parametrize("existing", ["network.pt2", "network.pt2.json"])
def test_nothing_is_overwritten(tmp_path, existing):
    (tmp_path / existing).write_bytes(b"mine")
    with pytest.raises(StorageError, match="a new file"):
        export_network(tmp_path / "run", tmp_path / "network.pt2")
    assert (tmp_path / existing).read_bytes() == b"mine"


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_onnx_needs_an_extra_and_pt2_does_not(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingExtraError, match=r"penumbra-segmentation\[export\]"):
        export_network(tmp_path / "run", tmp_path / "network.onnx")
    with pytest.raises(RunError, match="no such folder"):
        export_network(tmp_path / "run", tmp_path / "network.pt2")


def test_a_size_that_is_none_is_refused(tmp_path):
    with pytest.raises(SettingsError, match="from 16 to 4096"):
        export_network(tmp_path / "run", tmp_path / "network.pt2", size=3)
