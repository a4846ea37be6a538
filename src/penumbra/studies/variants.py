"""Calibrations of a study's networks, one per network and choice, kept as files."""

from __future__ import annotations

import functools
import json
import time
from pathlib import Path

from penumbra.calibration.calibrate import freeze_run
from penumbra.calibration.fit import calibrate_frozen
from penumbra.calibration.frozen import Frozen
from penumbra.calibration.logit_noise import LogitNoiseOptions, fit_logit_noise
from penumbra.calibration.noise import FitSettings, NoiseFit, fit_noise
from penumbra.calibration.options import CalibrationOptions
from penumbra.calibration.promises import with_promises
from penumbra.calibration.temperatures import fit_temperature, observed
from penumbra.data.assignment import select
from penumbra.data.manifest import read_manifest
from penumbra.data.source import Source
from penumbra.inference.calibration import Calibration, Temperature
from penumbra.noise.patterns import Pattern
from penumbra.storage import write_json
from penumbra.studies.experiment import CalibrationChoice
from penumbra.studies.networks import manifest_of
from penumbra.studies.places import Network, Study, digest, fingerprint

FIT_VERSION = 1


def fit_fingerprint(study: Study, network: Network, choice: CalibrationChoice) -> str:
    """Hash everything that a calibration follows from."""
    return fingerprint(
        {
            "version": FIT_VERSION,
            "choice": choice.model_dump(mode="json"),
            "network": digest(study.run(network) / "model.safetensors"),
            "manifest": digest(study.manifest(network.set)),
        }
    )


def is_fitted(study: Study, network: Network, choice: CalibrationChoice) -> bool:
    """Say whether a calibration is there and belongs to what it would be made of now."""
    path = study.calibration(network, choice.name)
    needed = (path, study.run(network) / "model.safetensors", study.manifest(network.set))
    if not all(each.is_file() for each in needed):
        return False
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return False
    return bool(document.get("fingerprint") == fit_fingerprint(study, network, choice))


def fit(study: Study, network: Network, choice: CalibrationChoice) -> float:
    """Calibrate a network under a choice and keep the result; give the seconds it took.

    What is asked for is fitted on all validation tiles, without the comparisons by which
    `penumbra calibrate` keeps or leaves it: here that is what the test split is for. With `auto`
    it is what `penumbra calibrate` would give.

    Raises:
        RunError, SettingsError, SourceError: it cannot be fitted.
    """
    started = time.perf_counter()
    run = study.run(network)
    manifest = manifest_of(study, network)
    frozen = _frozen(run, digest(run / "model.safetensors"), manifest)
    prepared = time.perf_counter()
    if choice.auto:
        found = with_promises(run, _validation(manifest), _auto(frozen, choice))
    else:
        found = _fitted(frozen, choice)
    document = {
        "fingerprint": fit_fingerprint(study, network, choice),
        "seconds": time.perf_counter() - prepared,
        "calibration": found.model_dump(mode="json"),
    }
    write_json(study.calibration(network, choice.name), document)
    return time.perf_counter() - started


@functools.lru_cache(maxsize=1)
def _frozen(run: Path, _weights: str, manifest: Path) -> Frozen:
    """Keep the last network's features: the next choice is most likely the same network's."""
    return freeze_run(run, _validation(manifest))


def _validation(manifest: Path) -> Source:
    source, assignment = read_manifest(manifest)
    return select(source, assignment, "val")


def _auto(frozen: Frozen, choice: CalibrationChoice) -> Calibration:
    return calibrate_frozen(frozen, CalibrationOptions(sites=choice.sites, n_eff=choice.n_eff))


def _fitted(frozen: Frozen, choice: CalibrationChoice) -> Calibration:
    tiles = range(len(frozen.held_out.tiles))
    temperature = fit_temperature(frozen, tiles, choice.temperature)
    noise = _noise(frozen, choice, temperature) if choice.noise else None
    logit_noise = None
    if choice.logit_noise:
        how = LogitNoiseOptions(n_eff=choice.n_eff)
        logit_noise = fit_logit_noise(observed(frozen, tiles), frozen.taps, options=how)
    return Calibration(
        temperature=temperature,
        noise_temperature=None if noise is None else noise.temperature,
        noise=None if noise is None else noise.noise,
        logit_noise=logit_noise,
    )


def _noise(frozen: Frozen, choice: CalibrationChoice, temperature: Temperature) -> NoiseFit:
    reached = frozen.at(frozen.site_names(choice.sites))
    pattern = Pattern(name=choice.pattern, length=choice.length)
    return fit_noise(
        frozen,
        reached,
        range(len(frozen.held_out.tiles)),
        patterns=dict.fromkeys(reached.names, pattern),
        temperature=temperature,
        settings=FitSettings(
            n_eff=choice.n_eff, marginal=choice.marginal, by_input=choice.gates == "input"
        ),
    )
