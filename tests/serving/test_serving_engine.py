"""The engine of a worker: what is served is bit for bit what the predictor gives alone."""

import asyncio
import io

import numpy as np
import pytest
import torch
from PIL import Image

from penumbra.errors import RunError, SettingsError
from penumbra.imaging.rle import decode_coco, encode_coco
from penumbra.inference.classical.predictor import ClassicalPredictor
from penumbra.inference.predictor import Predictor
from penumbra.models.noise_unet import NoiseAwareUNet
from penumbra.models.storage import save_model
from penumbra.models.unet.unet import UNet
from penumbra.promptable.cache import EmbeddingCache
from penumbra.promptable.segmenter import PromptableSegmenter
from penumbra.serving.batcher import MicroBatcher
from penumbra.serving.engine import load_engine
from penumbra.serving.messages import Answer, Failed, Job, batch_key
from penumbra.serving.pool import WorkerPool
from penumbra.serving.requests import SegmentRequest
from penumbra.serving.specs import ModelSpec, WorkerSettings
from penumbra.serving.uploads import UploadLimits, decode, sniff
from penumbra.serving.variants import ServedSegmenter

OTSU = "classical:otsu,foreground=bright"
NAMES = ["background", "thing"]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run folder of an untrained network."""
    torch.manual_seed(0)
    network = UNet(1, 1, width=8, depth=3).train()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(2, 1, 64, 64))
    folder = tmp_path_factory.mktemp("served") / "run"
    save_model(folder, network.eval(), details={"preprocess": {"size": 64}, "class_names": NAMES})
    return folder


@pytest.fixture(scope="module")
def specs(run, tiny_sam):
    return [
        ModelSpec(name="net", source=str(run)),
        ModelSpec(name="otsu", source=OTSU),
        ModelSpec(name="sam", kind="promptable", source=str(tiny_sam)),
    ]


@pytest.fixture(scope="module")
def engine(specs):
    return load_engine(specs, WorkerSettings(precision="fp32", variants=3))


@pytest.fixture(scope="module")
def predictor(run):
    return Predictor.load(run, precision="fp32")


def png(seed=0, size=(64, 80), channels=1):
    rng = np.random.default_rng(seed)
    pixels = np.kron(
        rng.integers(0, 255, (size[0] // 8, size[1] // 8, channels)), np.ones((8, 8, 1))
    )
    target = io.BytesIO()
    Image.fromarray(np.squeeze(pixels.astype(np.uint8))).save(target, format="PNG")
    return target.getvalue()


def job(name, upload=None, kind="segment", model="net", **options):
    size = None if upload is None or kind == "prompt" else sniff(upload, UploadLimits())[1:]
    key = batch_key(name, kind, model, options, size)
    return Job(id=name, kind=kind, model=model, upload=upload, options=options, key=key)


def arrays(answer):
    return np.load(io.BytesIO(answer.files["arrays.npz"]), allow_pickle=False)


def same(answer, prediction):
    assert isinstance(answer, Answer), answer
    found = arrays(answer)
    assert np.array_equal(found["probabilities"], prediction.probabilities)
    assert np.array_equal(found["mask"], prediction.mask)
    for name, values in prediction.uncertainty.items():
        assert np.array_equal(found[name], values), name
    assert answer.document["seed"] == prediction.seed


def offline(predictor, asked):
    """What the predictor says by itself, with the plan that the REST fields stand for."""
    options = asked.options
    k, strength = options.get("samples", 8), options.get("noise_strength", 0.3)
    texts = {
        None: (options.get("sampler"), "off"),
        "disabled": ("deterministic", "off"),
        "single": (f"noise:1@{strength}", "mean"),
        "ensemble": (f"noise:{k}@{strength}", "mean"),
        "monte_carlo": (f"noise:{k}@{strength}", "off"),
    }
    sampler, mask_from = texts[options.get("noise_mode")]
    if "pattern" in options:
        sampler += f"~{options['pattern']}"
    alone = predictor.using(
        sampler=sampler, threshold=options.get("threshold"), mask_from=mask_from
    )
    image = decode(asked.upload, UploadLimits())
    return alone([image], seed=options.get("seed", 0))[0]


MIXED = [
    {},
    {"seed": 7},
    {"noise_mode": "disabled", "threshold": 0.3},
    {"noise_mode": "single", "seed": 3},
    {"noise_mode": "ensemble", "samples": 4, "seed": 3},
    {"noise_mode": "monte_carlo", "samples": 4, "seed": 3},
    {"noise_mode": "monte_carlo", "samples": 4, "seed": 4},
    {"noise_mode": "monte_carlo", "samples": 2, "noise_strength": 1.5, "pattern": "perlin16"},
    {"sampler": "noise:2@0.2~gaussian", "seed": 2**40},
]


def test_a_batch_of_mixed_requests_gives_the_bits_of_each_alone(engine, predictor):
    jobs = [
        job(f"j{n}-{seed}", png(seed, size), accept="npz", **options)
        for n, options in enumerate(MIXED)
        for seed, size in ((1, (64, 64)), (2, (56, 120)))
    ]
    said = {one.id: one for one in engine.handle(jobs)}
    assert len(said) == len(jobs)
    for asked in jobs:
        same(said[asked.id], offline(predictor, asked))


def test_what_is_said_beside_the_pixels(engine, predictor):
    asked = job("a", png(5), noise_mode="monte_carlo", samples=4, seed=11, outputs=["mask"])
    (said,) = engine.handle([asked])
    document, truth = said.document, offline(predictor, asked)
    assert document["size"] == {"height": 64, "width": 80}
    assert document["classes"] == NAMES
    assert (document["sampler"], document["passes"]) == (truth.sampler, 4)
    assert (document["noise_mode"], document["seed"]) == ("monte_carlo", 11)
    assert document["scores"] == pytest.approx(dict(truth.scores))
    assert np.array_equal(decode_coco(document["masks"][0]["rle"]), truth.mask == 1)
    assert list(document["timings"]) == ["decode", "prepare", "network", "finish", "encode"]
    assert document["timings"]["network"] > 0


def test_models_are_described(engine):
    net, otsu, sam = engine.models
    assert (net["name"], net["kind"], net["size"], net["classes"]) == (
        "net",
        "segmenter",
        64,
        NAMES,
    )
    assert (net["has_noise"], net["calibrated"], net["sampler"]) == (False, False, "deterministic")
    assert (otsu["kind"], otsu["size"]) == ("segmenter", None)
    assert (sam["kind"], sam["size"], sam["accepts"]) == (
        "promptable",
        64,
        ["box", "mask", "point"],
    )


def test_a_bad_image_fails_alone(engine, predictor):
    good = png(3)
    nan = io.BytesIO()
    import tifffile

    tifffile.imwrite(nan, np.full((64, 80), np.nan, np.float32))
    jobs = [
        job("good", good, accept="npz"),
        Job(id="cut", kind="segment", model="net", upload=good[:60]),
        Job(id="text", kind="segment", model="net", upload=b"hello"),
        Job(id="nan", kind="segment", model="net", upload=nan.getvalue()),
        Job(id="who", kind="segment", model="another", upload=good),
        job("option", good, noise_mode="loud"),
        job("strong", good, noise_strength=3.0),
        job("many", good, sampler="noise:1000@0.3"),
        job("asks", good, kind="prompt"),
        job("again", good, accept="npz"),
    ]
    said = {one.id: one for one in engine.handle(jobs)}
    assert len(said) == len(jobs)
    for name in ("good", "again"):
        same(said[name], offline(predictor, jobs[0]))
    codes = {name: (one.status, one.code) for name, one in said.items() if isinstance(one, Failed)}
    assert codes == {
        "cut": (422, "damaged-image"), "text": (415, "unknown-format"),
        "nan": (422, "damaged-image"), "who": (404, "unknown-model"),
        "option": (422, "bad-option"), "strong": (422, "bad-option"), "many": (422, "bad-option"),
        "asks": (422, "bad-option"),
    }  # fmt: skip


def test_work_that_nobody_waits_for_ends_between_passes(engine):
    class EnoughError(Exception):
        pass

    looks = []

    def look():
        looks.append(1)
        if len(looks) == 3:
            raise EnoughError

    with pytest.raises(EnoughError):
        list(engine.handle([job("long", png(), samples=64)], look=look))
    assert len(looks) == 3
    (answer,) = engine.handle([job("next", png(), samples=4)])
    assert isinstance(answer, Answer)
    assert len(looks) == 3


def test_what_nobody_foresaw_fails_the_job_and_is_logged_without_its_words(engine, caplog):
    class Broken:
        sampler = ClassicalPredictor(OTSU).sampler
        threshold = 0.5

        def __call__(self, images, *, seed):
            if len(images) > 1 or images[0].max() == 99:
                raise RuntimeError("patient " + " ".join(["Jane", "Doe"]))
            return ClassicalPredictor(OTSU)(images, seed=seed)

    flat = io.BytesIO()
    Image.fromarray(np.full((8, 8), 99, np.uint8)).save(flat, format="PNG")
    segmenter = engine._models["otsu"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(segmenter, "predictor", lambda plan: Broken())
        jobs = [job("bad", flat.getvalue(), model="otsu"), job("good", png(1), model="otsu")]
        said = {one.id: one for one in engine.handle(jobs)}
    assert isinstance(said["good"], Answer)
    assert (said["bad"].status, said["bad"].code) == (500, "internal")
    assert "RuntimeError" in caplog.text
    assert "Jane Doe" not in caplog.text + said["bad"].detail


def test_classical_methods_take_a_threshold_and_no_noise(engine):
    jobs = [
        job("a", png(1), model="otsu", accept="npz", threshold=0.9),
        job("b", png(1), model="otsu", noise_mode="monte_carlo"),
    ]
    said = {one.id: one for one in engine.handle(jobs)}
    image = decode(png(1), UploadLimits())
    same(said["a"], ClassicalPredictor(OTSU, threshold=0.9)([image])[0])
    assert said["b"].code == "bad-option"


def stream_of(engine, **options):
    options = {"noise_mode": "monte_carlo", "samples": 8, "stream": True, "seed": 1} | options
    return list(engine.handle([job("s", png(4), kind="uncertainty", accept="npz", **options)]))


def test_a_stream_ends_with_the_whole_answer_unless_it_converges_before(engine, predictor):
    said = stream_of(engine, tolerance=0.0)
    assert [one.document["passes"] for one in said] == [2, 4, 6, 8]
    assert [one.last for one in said] == [False, False, False, True]
    assert not any(one.document["converged"] for one in said)
    asked = job("s", png(4), noise_mode="monte_carlo", samples=8, seed=1)
    same(said[-1], offline(predictor, asked))
    early = stream_of(engine, tolerance=1.0)
    assert [one.document["converged"] for one in early] == [True]
    assert early[0].last
    assert early[0].document["mean_standard_error"] > 0
    # What it stopped at is what fewer passes would have given.
    asked = job("s", png(4), noise_mode="monte_carlo", samples=2, seed=1)
    assert np.array_equal(
        arrays(early[0])["probabilities"], offline(predictor, asked).probabilities
    )


def test_prompts_are_answered_from_one_embedding(engine, tiny_sam):
    upload = png(6, (48, 64), 3)
    (embedded,) = engine.handle([job("e", upload, kind="embed", model="sam", session="s1")])
    assert embedded.document["id"] == "s1"
    assert embedded.document["size"] == {"height": 48, "width": 64}
    assert embedded.cached is False
    prompts = {"boxes": [[4, 4, 40, 40], [8, 0, 60, 30]]}
    (said,) = engine.handle([job("p", None, kind="prompt", model="sam", session="s1", **prompts)])
    assert said.cached is True
    segmenter = PromptableSegmenter.from_pretrained(tiny_sam, precision="float32")
    embedding = EmbeddingCache().embed(segmenter, decode(upload, UploadLimits()))
    wanted = [segmenter.predict(embedding, boxes=box)[0] for box in prompts["boxes"]]
    assert len(said.document["masks"]) == 2
    for row, truth in zip(said.document["masks"], wanted, strict=True):
        whole = np.zeros((48, 64), bool)
        if row["box"] is not None:
            x0, y0, x1, y1 = row["box"]
            whole[y0:y1, x0:x1] = decode_coco(row["rle"])
        assert np.array_equal(whole, truth.mask > 0)
        assert row["area_px"] == whole.sum()
        assert row["predicted_iou"] == truth.predicted_iou
        assert row["stability"] == truth.stability


def test_a_session_that_a_worker_does_not_know_needs_its_upload(engine):
    upload = png(7, (48, 64), 3)
    asked = {"session": "s2", "points": [[[5, 5]]], "labels": [[1]]}
    (unknown,) = engine.handle([job("p", None, kind="prompt", model="sam", **asked)])
    assert (unknown.status, unknown.code) == (0, "unknown-session")
    (first,) = engine.handle([job("p", upload, kind="prompt", model="sam", **asked)])
    (second,) = engine.handle([job("p", None, kind="prompt", model="sam", **asked)])
    assert first.document["masks"] == second.document["masks"]
    assert (first.cached, second.cached) == (False, True)
    wrong = [
        {"boxes": [[9, 9, 3, 3]]}, {"boxes": []}, {"boxes": [[0, 0, 9, 9]] * 300},
        {"labels": [[1]]}, {"mask": {"size": [4, 4], "counts": "0"}}, {"mask": {"size": [48, 64]}},
        {"points": [[[1, 2]] * 300]}, {"points": [[[100, 2]]]},
    ]  # fmt: skip
    for options in wrong:
        (bad,) = engine.handle([job("p", kind="prompt", model="sam", session="s2", **options)])
        assert (bad.status, bad.code) == (422, "bad-option"), options
    mask = encode_coco(np.pad(np.ones((20, 20), bool), ((8, 20), (8, 36))))
    (good,) = engine.handle([job("p", kind="prompt", model="sam", session="s2", mask=mask)])
    assert len(good.document["masks"]) == 1


def test_cards_are_rectified(engine):
    card = np.zeros((240, 320), np.uint8)
    card[50:190, 40:262] = 255
    target = io.BytesIO()
    Image.fromarray(card).save(target, format="PNG")
    asked = {"model": "otsu", "width": 214, "height": 135, "limit": 0.0}
    said, bad = engine.handle([
        job("c", target.getvalue(), kind="rectify", **asked),
        job("d", target.getvalue(), kind="rectify", model="otsu", width=5),
    ])  # fmt: skip
    assert (bad.status, bad.code) == (422, "bad-option")
    (row,) = said.document["cards"]
    assert row["refused"] is False
    assert row["href"] == "/v1/results/c/card.png"
    assert Image.open(io.BytesIO(said.files["card.png"])).size == (214, 135)
    assert set(said.files) == {"card.png", "card_uncertainty.png"}


def planned(source, **options):
    segmenter = ServedSegmenter(ModelSpec(name="a", source=str(source)), WorkerSettings())
    plan = segmenter.plan(SegmentRequest.of(options, max_samples=64))
    return str(plan.sampler), plan.mask_from


def test_plans_use_the_runs_own_noise_unless_told_otherwise(run, tmp_path):
    details = {"preprocess": {"size": 64}, "class_names": NAMES}
    save_model(tmp_path / "own", NoiseAwareUNet(1, 1, width=4, depth=2).eval(), details=details)
    own = tmp_path / "own"
    assert planned(own) == ("None", "off")
    assert planned(own, noise_mode="monte_carlo", samples=4) == ("noise:4", "off")
    assert planned(own, noise_mode="single", samples=4) == ("noise:1", "mean")
    assert planned(own, noise_mode="ensemble", noise_strength=0.7) == ("noise:8@0.7", "mean")
    assert planned(own, pattern="perlin16") == ("noise:8@0.3~perlin16", "off")
    assert planned(own, samples=2) == ("noise:2", "off")
    assert planned(run, noise_mode="monte_carlo") == ("noise:8@0.3", "off")
    assert planned(run, noise_mode="disabled", samples=4) == ("deterministic", "off")
    with pytest.raises(SettingsError):
        planned(run, pattern="perlin16*dropout")


def test_a_model_that_is_not_there_is_said(tmp_path):
    with pytest.raises(RunError):
        load_engine([ModelSpec(name="a", source=str(tmp_path / "none"))], WorkerSettings())


def test_a_whole_server_less_http_gives_each_its_own_bits(specs, predictor):
    settings = WorkerSettings(precision="fp32", threads=1)

    async def scenario():
        pool = WorkerPool(specs[:2], settings)
        await pool.start()
        try:
            batcher = MicroBatcher(pool, max_batch=4, max_wait_ms=5, max_queue=100)
            jobs = [
                job(f"j{n}", png(n % 5, (64, 64)), accept="npz", **MIXED[n % len(MIXED)])
                for n in range(20)
            ]
            answers = await asyncio.gather(*(batcher.submit(asked) for asked in jobs))
            for asked, answer in zip(jobs, answers, strict=True):
                assert answer.id == asked.id
                same(answer, offline(predictor, asked))
        finally:
            await pool.drain()

    asyncio.run(scenario())
