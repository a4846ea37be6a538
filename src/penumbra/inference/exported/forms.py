"""The two forms of file: written, and run again from what was written."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from penumbra.errors import MissingExtraError, ModelError, SettingsError, expected
from penumbra.inference.exported.tracing import FAILS, one_line

INPUT, OUTPUT = "images", "probabilities"
_MOST_BYTES = 2_000_000_000
"""Of weights in one .onnx file: its format ends at 2 GiB."""

Runner = Callable[[NDArray[np.float32]], NDArray[np.float32]]
"""Images (N, C, H, W) to probabilities (N, C′, H, W)."""


@dataclass(frozen=True)
class Form:
    """A form of file.

    Attributes:
        suffix: of its files.
        check: raise `MissingExtraError` where what writes it is not installed.
        write: write a program; what to note about it, such as versions.
        open: read a file that was just written, ready to run.
    """

    suffix: str
    check: Callable[[], None]
    write: Callable[[ExportedProgram, Path], dict[str, Any]]
    open: Callable[[Path], Runner]


def form_of(out: Path) -> Form:
    """Give the form that a file's suffix asks for.

    Raises:
        SettingsError: there is none for it.

    Examples:
        >>> form_of(Path("nerve.onnx")).suffix
        '.onnx'
    """
    for form in FORMS:
        if out.suffix == form.suffix:
            return form
    raise SettingsError(
        expected("--out", "a new FILE.pt2 (torch.export) or FILE.onnx", out,
                 f"--out {out.with_suffix('.pt2') if out.name else 'network.pt2'}")
    )  # fmt: skip


def _write_program(program: ExportedProgram, path: Path) -> dict[str, Any]:
    with _quiet():
        torch.export.save(program, path)
    return {}


def _open_program(path: Path) -> Runner:
    with _quiet():
        module = torch.export.load(path).module()

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        try:
            with torch.no_grad():
                return np.asarray(module(torch.from_numpy(images)).numpy(), dtype=np.float32)
        except FAILS as error:
            raise ModelError(
                expected("the .pt2 file", f"one that runs for images {images.shape}",
                         f"an error ({one_line(error)})", "an .onnx file")
            ) from error  # fmt: skip

    return run


def _check_onnx() -> None:
    """Look for what writes and runs .onnx files.

    Raises:
        MissingExtraError: a package of the extra ``[export]`` is not installed.
    """
    try:
        import onnx  # noqa: F401, PLC0415 - an extra, and slow to import
        import onnxruntime  # noqa: F401, PLC0415
        import onnxscript  # noqa: F401, PLC0415
    except ImportError as error:
        raise MissingExtraError(
            expected("onnx, onnxscript and onnxruntime", "installed for .onnx files", error,
                     "`pip install 'penumbra-segmentation[export]'`, or a .pt2 file")
        ) from error  # fmt: skip


def _write_onnx(program: ExportedProgram, path: Path) -> dict[str, Any]:
    held = sum(value.nbytes for value in program.state_dict.values())
    if held > _MOST_BYTES:
        raise SettingsError(
            expected("the weights", "at most 2 GB for one .onnx file", f"{held / 1e9:.1f} GB",
                     "a .pt2 file")
        )  # fmt: skip
    try:
        with _quiet():
            written = torch.onnx.export(
                program,
                f=path,
                input_names=[INPUT],
                output_names=[OUTPUT],
                dynamo=True,
                external_data=False,
                verbose=False,
            )
    except FAILS as error:
        raise ModelError(
            expected("the network", "one of operations that ONNX has",
                     f"an error ({one_line(error)})", "a .pt2 file")
        ) from error  # fmt: skip
    if written is None:
        return {}
    import onnx  # noqa: PLC0415

    return {"opset": written.model.opset_imports.get(""), "onnx": onnx.__version__}


def _open_onnx(path: Path) -> Runner:
    import onnxruntime  # noqa: PLC0415
    from onnxruntime.capi import onnxruntime_pybind11_state as state  # noqa: PLC0415

    # Its errors have no base of their own.
    failures = (state.Fail, state.InvalidArgument, state.InvalidGraph, state.InvalidProtobuf,
                state.NotImplemented, state.RuntimeException)  # fmt: skip
    options = onnxruntime.SessionOptions()
    # As many threads as torch has here, not one per core of a machine that others share.
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.log_severity_level = 4
    with _said_as_ours(failures):
        session = onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"]
        )

    def run(images: NDArray[np.float32]) -> NDArray[np.float32]:
        with _said_as_ours(failures):
            return np.asarray(session.run([OUTPUT], {INPUT: images})[0], dtype=np.float32)

    return run


@contextlib.contextmanager
def _said_as_ours(failures: tuple[type[Exception], ...]) -> Iterator[None]:
    try:
        yield
    except failures as error:
        raise ModelError(
            expected("the .onnx file", "one that onnxruntime runs",
                     f"an error ({one_line(error)})", "a .pt2 file")
        ) from error  # fmt: skip


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch from telling about itself on the way; nobody here can act on it."""
    noisy = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = noisy.level
    noisy.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        noisy.setLevel(before)


FORMS = (
    Form(".pt2", lambda: None, _write_program, _open_program),
    Form(".onnx", _check_onnx, _write_onnx, _open_onnx),
)
