"""Embeddings on disk: one safetensors file each, 16-bit, that knows what it was made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from penumbra.promptable.embedding import Embedding
from penumbra.storage import write_bytes

FORMAT = "penumbra-embedding-1"
SUFFIX = ".safetensors"
MOST_BYTES = 2**30
"""A larger file is none of ours: ViT-H of SAM-HQ with all it needs is under 64 MiB."""

_HALF_MAX = torch.finfo(torch.float16).max
_FEATURES, _EXTRA = "features", "extra"


def in_half(embedding: Embedding) -> Embedding:
    """Round the features to 16 bits, as they are kept; what leaves that range stays as it is.

    Prompts are answered from rounded features whether or not they come out of a cache: otherwise
    the second answer about an image would differ from the first.
    """
    return _with(embedding, tuple(_halved(t) for t in (embedding.features, *embedding.extra)))


def in_single(embedding: Embedding) -> Embedding:
    """Give the features as float32, which the decoder takes."""
    return _with(embedding, tuple(t.float() for t in (embedding.features, *embedding.extra)))


def path_of(folder: Path, key: str) -> Path:
    """Give the file of a key; two levels, so that no folder holds a million files."""
    return folder / key[:2] / f"{key}{SUFFIX}"


def write_embedding(folder: Path, embedding: Embedding) -> Path:
    """Write an embedding atomically, and give its file.

    Raises:
        StorageError: it cannot be written.
    """
    tensors = {_FEATURES: embedding.features.contiguous()}
    tensors |= {f"{_EXTRA}.{i}": t.contiguous() for i, t in enumerate(embedding.extra)}
    facts = {
        "format": FORMAT,
        "key": embedding.key,
        "model": embedding.model,
        "size": json.dumps(embedding.size),
        "resized": json.dumps(embedding.resized),
    }
    facts["digest"] = _digest(facts, tensors)
    path = path_of(folder, embedding.key)
    write_bytes(path, save(tensors, metadata=facts))
    return path


def read_embedding(folder: Path, key: str) -> Embedding | None:
    """Read the embedding of a key.

    Returns:
        ``None`` where there is none, or the file is truncated, damaged, of another format, of
        another key, or not finite: such a file is as good as absent.
    """
    path = path_of(folder, key)
    try:
        if path.stat().st_size > MOST_BYTES:
            return None
        with safe_open(path, framework="pt") as opened:
            facts = opened.metadata() or {}
            if facts.get("format") != FORMAT or facts.get("key") != key:
                return None
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    except (OSError, SafetensorError):
        return None
    return _checked(facts, tensors)


def _checked(facts: Mapping[str, str], tensors: Mapping[str, Tensor]) -> Embedding | None:
    if facts.get("digest") != _digest(facts, tensors) or _FEATURES not in tensors:
        return None
    if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
        return None
    size, resized = _pair(facts.get("size")), _pair(facts.get("resized"))
    if size is None or resized is None or tensors[_FEATURES].ndim != 4:
        return None
    extra = tuple(tensors[f"{_EXTRA}.{i}"] for i in range(len(tensors) - 1))
    model = facts.get("model", "")
    return Embedding(tensors[_FEATURES], size, resized, facts["key"], model, extra)


def _pair(text: str | None) -> tuple[int, int] | None:
    try:
        found: Any = json.loads(text or "null")
    except ValueError:
        return None
    whole = isinstance(found, list) and len(found) == 2 and all(type(n) is int for n in found)
    return (found[0], found[1]) if whole and min(found) > 0 else None


def _digest(facts: Mapping[str, str], tensors: Mapping[str, Tensor]) -> str:
    """Hash all that a file holds, since safetensors checks lengths alone."""
    described = sorted((name, text) for name, text in facts.items() if name != "digest")
    digest = hashlib.sha256(repr(described).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _halved(tensor: Tensor) -> Tensor:
    tensor = tensor.detach().cpu()
    return tensor if tensor.abs().amax() > _HALF_MAX else tensor.half()


def _with(embedding: Embedding, tensors: tuple[Tensor, ...]) -> Embedding:
    return Embedding(
        tensors[0],
        embedding.size,
        embedding.resized,
        embedding.key,
        embedding.model,
        tensors[1:],
        embedding.timings,
    )
