"""Weights from elsewhere: found by hub name, address or path, and read without executing code.

Nothing here reaches for the network unless the name says so: ``hub:OWNER/NAME`` asks the hub, an
https address with a hash asks that server, anything else is a path.
"""

from __future__ import annotations

import os
import pickle
import re
import struct
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol, runtime_checkable
from urllib.parse import urlsplit

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from penumbra.data.download.fetch import fetch
from penumbra.errors import ModelError, StorageError, expected
from penumbra.models.weights import digest_of

HUB = "hub:"
SAFETENSORS = ".safetensors"
_MOST_BYTES = 4 * 2**30
_HASH = re.compile(r"^(.*)#sha256=([0-9a-fA-F]{64})$")
_NAME = re.compile(r"^[A-Za-z0-9][\w.-]*/[\w.-]+$")
_TORCH_FILES = (".pth", ".pt", ".bin")
_INNER = ("state_dict", "model")
_TRY = "hub:OWNER/NAME, https://…#sha256=HASH, or the path of a .safetensors or .pth file"


@runtime_checkable
class TakesWeights(Protocol):
    """A network that can begin with weights from elsewhere."""

    def take_weights(self, tensors: Mapping[str, Tensor], *, origin: str) -> tuple[str, ...]:
        """Take over what fits, refuse what is of another network, name what was taken."""


@dataclass(frozen=True)
class Origin:
    """Where weights are.

    Attributes:
        kind: ``hub``, ``url`` or ``path``.
        place: the repository, the address or the path.
        revision: of the repository; its newest where ``None``.
        sha256: that the file must have, in hexadecimal; required of an address.
    """

    kind: str
    place: str
    revision: str | None = None
    sha256: str | None = None

    @classmethod
    def parse(cls, text: str) -> Origin:
        """Read ``hub:OWNER/NAME[@REVISION]``, ``https://…#sha256=HASH`` or ``PATH[#sha256=HASH]``.

        Raises:
            ModelError: the hub's name is none, or an address has no hash or is not https.

        Examples:
            >>> Origin.parse("hub:timm/vgg16.tv_in1k").place
            'timm/vgg16.tv_in1k'
        """
        match = _HASH.match(text)
        place, digest = (match[1], match[2].lower()) if match else (text, None)
        if text.startswith(HUB):
            name, _, revision = place.removeprefix(HUB).partition("@")
            if not _NAME.match(name):
                raise _wrong("`weights`", "a name of the hub after hub:", repr(name))
            return cls("hub", name, revision or None, digest)
        scheme = urlsplit(place).scheme
        # One letter is a drive of Windows.
        if len(scheme) > 1 and "://" in place:
            if scheme != "https":
                raise _wrong("the address of weights", "https", scheme)
            if digest is None:
                raise _wrong(f"the address {place}", "followed by #sha256= and 64 digits",
                             "no hash")  # fmt: skip
            return cls("url", place, None, digest)
        return cls("path", place, None, digest)


def load_pretrained(network: nn.Module, where: str) -> tuple[str, ...]:
    """Give a network weights from elsewhere.

    Args:
        network: one that takes them, such as ``vgg16-unet``.
        where: ``hub:OWNER/NAME[@REVISION]`` (its ``model.safetensors``), ``https://…#sha256=HASH``
            or a path; ``.pth`` files are read with ``weights_only``.

    Returns:
        The names of the tensors that were taken.

    Raises:
        ModelError: the network takes none; the file is missing, damaged, too large, of another
            hash, holds more than tensors, or is of another variant.
        DownloadError: an address could not be fetched.
        StorageError: what was fetched cannot be kept.
    """
    if not isinstance(network, TakesWeights):
        raise ModelError(
            expected("a network for model.weights", "one that takes weights from elsewhere",
                     type(network).__name__, "model.name=vgg16-unet or vgg16-fcn8s")
        )  # fmt: skip
    return network.take_weights(read_tensors(locate(where)), origin=where)


def locate(where: str) -> Path:
    """Give the file that a name of weights means, fetching it where the name says so.

    What was fetched from an address is kept in ``penumbra/weights`` of ``$XDG_CACHE_HOME``
    (``~/.cache``) under its hash, and not fetched again; what comes from the hub is in the hub's
    own cache.

    Raises:
        ModelError: it is not there, or has another hash.
        DownloadError: it could not be fetched.
        StorageError: what was fetched cannot be kept.
    """
    origin = Origin.parse(where)
    if origin.kind == "hub":
        path = _from_hub(origin)
    elif origin.kind == "url":
        path = _from_url(origin)
    else:
        path = Path(origin.place).expanduser()
        if not path.is_file():
            raise _wrong(f"the weights {path}", "a file", "a folder" if path.is_dir() else "none")
    if origin.sha256 is not None and (digest := digest_of(path)) != origin.sha256:
        raise ModelError(
            expected(f"the SHA-256 of {where.partition('#')[0]}", origin.sha256, digest,
                     "a fresh copy, or the hash of the file that you mean")
        )  # fmt: skip
    return path


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Read named tensors, without executing code.

    Args:
        path: a safetensors file, or one that `torch.save` wrote (``.pth``, ``.pt``, ``.bin``);
            a table of tensors, or one under ``state_dict`` or ``model``.

    Raises:
        ModelError: it is of another form, damaged, larger than 4 GiB, or holds more than tensors.
    """
    size = path.stat().st_size
    if size > _MOST_BYTES:
        raise _wrong(f"the weights {path}", f"at most {_MOST_BYTES:,} bytes", f"{size:,}")
    if path.suffix not in (SAFETENSORS, *_TORCH_FILES):
        raise _wrong(f"the weights {path}", f"a file {SAFETENSORS} or {', '.join(_TORCH_FILES)}",
                     path.suffix or "no suffix")  # fmt: skip
    try:
        if path.suffix == SAFETENSORS:
            return load_file(path)
        document = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, OSError, EOFError, RuntimeError, ValueError, LookupError, TypeError,
            AssertionError, AttributeError, MemoryError, pickle.UnpicklingError,
            struct.error) as error:  # fmt: skip
        reason = str(error).splitlines()[0] if str(error) else repr(error)
        raise ModelError(
            expected(f"the weights {path}", "a file of tensors and nothing else", reason,
                     "a safetensors file of the same network, or a fresh copy")
        ) from error  # fmt: skip
    return _tensors_of(document, path)


def _tensors_of(document: object, path: Path) -> dict[str, Tensor]:
    for key in _INNER:
        if isinstance(document, Mapping) and isinstance(document.get(key), Mapping):
            document = document[key]
    if not isinstance(document, Mapping) or not document:
        raise _wrong(f"the weights {path}", "a table of tensors", type(document).__name__)
    others = [str(name) for name, value in document.items() if not isinstance(value, Tensor)]
    if others:
        raise _wrong(f"the weights {path}", "a table of tensors", f"{others[0]!r} among them")
    return {str(name): tensor for name, tensor in document.items()}


def _from_hub(origin: Origin) -> Path:
    from huggingface_hub import hf_hub_download  # noqa: PLC0415 - only where it is named
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError  # noqa: PLC0415

    reason = "no copy of it here"
    # What is here is used without asking for news, so that a name means the same every day.
    for local in (True, False):
        try:
            return Path(
                hf_hub_download(
                    origin.place,
                    "model.safetensors",
                    revision=origin.revision,
                    local_files_only=local,
                )
            )
        except (OSError, ValueError, HfHubHTTPError, HFValidationError) as error:
            reason = reason if local else (str(error).splitlines() or [repr(error)])[0]
    raise ModelError(
        expected(f"model.safetensors of {origin.place}", "on the hub, or at hand", reason,
                 "weights: PATH, that file from a machine with a network, or leaving weights out")
    )  # fmt: skip


def _from_url(origin: Origin) -> Path:
    digest = str(origin.sha256)
    suffix = PurePosixPath(urlsplit(origin.place).path).suffix
    target = _cache() / f"{digest}{suffix}"
    try:
        if target.is_file() and digest_of(target) == digest:
            return target
        target.parent.mkdir(parents=True, exist_ok=True)
        # Beside its place under another name, so that what stands under a hash has that hash.
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            fetched = fetch(origin.place, Path(folder) / target.name, max_bytes=_MOST_BYTES)
            if fetched.sha256 != digest:
                raise ModelError(
                    expected(f"the SHA-256 of {origin.place}", digest, fetched.sha256,
                             "the hash that its makers publish; nothing was kept")
                )  # fmt: skip
            fetched.path.replace(target)
    except OSError as error:
        raise StorageError(
            expected(f"the folder of fetched weights, {target.parent},", "writable, with room",
                     error.strerror or repr(error), "XDG_CACHE_HOME=FOLDER, or fetching the file "
                     "by hand and naming its path")
        ) from error  # fmt: skip
    return target


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "penumbra" / "weights"


def _wrong(what: str, to_be: str, got: str) -> ModelError:
    return ModelError(expected(what, to_be, got, _TRY))
