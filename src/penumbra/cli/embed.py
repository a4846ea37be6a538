"""`penumbra embed`: embeddings of a whole source, so that prompting it needs no encoder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from penumbra.cli.prompts import chain_of
from penumbra.cli.segment import (
    Device,
    EncoderPrecision,
    Filters,
    ModelName,
    Offline,
    load_segmenter,
)
from penumbra.cli.session import Finished, Json, check_source, command, counted, say, track, verb

if TYPE_CHECKING:
    from penumbra.data.sample import Record
    from penumbra.data.source import Source
    from penumbra.promptable.cache import EmbeddingCache
    from penumbra.promptable.segmenter import PromptableSegmenter


@verb
def embed(
    source: Annotated[str, typer.Argument(help="LAYOUT:PATH, a path or a manifest.")],
    model: ModelName = "small",
    out: Annotated[
        Path, typer.Option("--out", help="The folder of embeddings, shared by models and sources.")
    ] = Path("embeddings"),
    filters: Filters = None,
    precision: EncoderPrecision = "auto",
    device: Device = "auto",
    offline: Offline = False,
    json: Json = False,
) -> Finished:
    """Run a promptable model's encoder over a source and keep what it gives, at 16 bits.

    `penumbra segment --embeddings` and tuning find an embedding by the pixels, the weights, the
    filters and the precision, so that a changed image or model is embedded again. What is there
    already is not computed again: a call that was cut off goes on. A file that cannot be read is a
    finding; the others complete, and the exit status is 1.
    """
    check_source(source, None)
    chain = chain_of(filters)
    from penumbra.data.layouts import open_source
    from penumbra.promptable.cache import EmbeddingCache
    from penumbra.storage import check_writable

    check_writable(out)
    opened = open_source(source)
    segmenter = load_segmenter(model, precision=precision, device=device, offline=offline)
    # Each image is asked for once here: memory would hold what nobody asks for again.
    cache = EmbeddingCache(out, memory_bytes=0)
    findings: list[dict[str, str]] = []
    used = 0
    for record in track(opened.records, total=len(opened), what="embed"):
        used += _one(segmenter, opened, record, cache, chain, findings)
    counts = cache.counts
    document = {
        "source": opened.name,
        "model": model,
        "weights": segmenter.weights_digest,
        "precision": segmenter.precision,
        "filters": (segmenter.filters if chain is None else chain).model_dump(mode="json"),
        "out": str(out),
        "computed": counts.computed,
        "present": counts.disk,
        "bytes": used,
        "findings": findings,
    }
    done = counts.computed + counts.disk
    given = ["--model", model, *(word for text in filters or () for word in ("--filter", text))]
    lines = [
        f"{done} of {counted(len(opened), 'image')} embedded: {counts.computed} now, "
        f"{counts.disk} before.",
        f"They are in {out}, {used / 2**20:.1f} MiB.",
        "Next: " + command("segment", "IMAGE", "--box", "X0,Y0,X1,Y1", *given, "--embeddings", out),
    ]
    return Finished(document, lines if done else lines[:1], code=1 if findings else 0)


def _one(
    segmenter: PromptableSegmenter,
    source: Source,
    record: Record,
    cache: EmbeddingCache,
    filters: object,
    findings: list[dict[str, str]],
) -> int:
    """Embed one image and give the bytes that it takes on disk; 0 where it cannot be used."""
    from penumbra.errors import ImageFileError
    from penumbra.promptable.embedding_files import path_of

    try:
        found = cache.embed(segmenter, source.read_image(record.image), filters=filters)
    except ImageFileError as error:
        findings.append({"kind": "unreadable", "image": str(record.image), "message": str(error)})
        say(f"error: {error}")
        return 0
    return 0 if cache.folder is None else path_of(cache.folder, found.key).stat().st_size
