"""`penumbra serve`: a REST interface, a studio page and the Streamlit app, on one port."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from penumbra.cli.session import Finished, Json, say, verb

if TYPE_CHECKING:
    from penumbra.serving.settings import ServeSettings


@verb
def serve(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN…", help="Run folders or classical:NAME, each also as NAME=RUN."
        ),
    ] = None,
    promptable: Annotated[
        list[str] | None,
        typer.Option("--promptable", help="A promptable model, as in segment; may be repeated."),
    ] = None,
    host: Annotated[
        str, typer.Option("--host", help="Others than this machine's need --api-key-file.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="0: a free one.")] = 8000,
    api_key_file: Annotated[
        Path | None, typer.Option("--api-key-file", help="One key per line, # for comments.")
    ] = None,
    workers: Annotated[
        int, typer.Option("--workers", min=1, help="Processes with the models.")
    ] = 1,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Of each worker.")] = None,
    max_batch: Annotated[
        int, typer.Option("--max-batch", min=1, help="Most images that share a batch.")
    ] = 8,
    max_wait_ms: Annotated[
        float, typer.Option("--max-wait-ms", min=0, help="How long an image waits for company.")
    ] = 2.0,
    max_queue: Annotated[
        int, typer.Option("--max-queue", min=1, help="Most requests that wait; others get 429.")
    ] = 16,
    max_samples: Annotated[
        int, typer.Option("--max-samples", min=1, help="Most passes of a request.")
    ] = 64,
    max_upload_mib: Annotated[
        float, typer.Option("--max-upload-mib", min=0.001, help="Of an image file.")
    ] = 32.0,
    max_pixels: Annotated[
        int, typer.Option("--max-pixels", min=1, help="Of an image, by its header.")
    ] = 40_000_000,
    rate: Annotated[
        float, typer.Option("--rate", min=0, help="Requests per second and key; 0: no limit.")
    ] = 0.0,
    cors_origin: Annotated[
        list[str] | None,
        typer.Option("--cors-origin", help="Another origin whose pages may ask; may be repeated."),
    ] = None,
    ui: Annotated[bool, typer.Option("--ui/--no-ui", help="The Streamlit app at /ui.")] = True,
    open_page: Annotated[bool, typer.Option("--open", help="Open the studio page.")] = False,
    json: Json = False,
) -> Finished:
    """Serve runs over HTTP: REST under /v1, the studio page at /, the Streamlit app at /ui.

    Stops at Ctrl-C or SIGTERM, after the answers to what was accepted. With --json one line with
    the addresses is printed once requests are answered.
    """
    from penumbra.errors import MissingExtraError

    try:
        from penumbra.serving import running
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            f"Serving needs the extra [serve] ({error.name} is missing): "
            "pip install 'penumbra-segmentation[serve]'."
        ) from None
    settings = _settings(
        runs=runs or [], promptable=promptable or [], host=host, port=port,
        api_key_file=api_key_file, workers=workers, threads=threads, max_batch=max_batch,
        max_wait_ms=max_wait_ms, max_queue=max_queue, max_samples=max_samples,
        max_upload_bytes=int(max_upload_mib * 2**20), max_pixels=max_pixels, rate_per_s=rate,
        cors_origins=tuple(cors_origin or ()), ui=ui,
    )  # fmt: skip

    def ready(addresses: dict[str, str]) -> None:
        _announce(addresses, as_json=json)
        if open_page:
            typer.launch(addresses["studio"])

    running.serve(settings, on_ready=ready)
    say("Stopped, after the last answer.")
    raise typer.Exit


def _settings(**given: Any) -> ServeSettings:
    from penumbra.errors import SettingsError, expected
    from penumbra.serving.settings import ServeSettings, named

    given["runs"], given["promptable"] = named(given["runs"]), named(given["promptable"])
    if not given["runs"] and not given["promptable"]:
        raise SettingsError(
            expected("what is served", "at least one RUN or --promptable", "nothing",
                     "penumbra serve runs/first")
        )  # fmt: skip
    # What has no option here has its variable, as under other ASGI servers.
    return ServeSettings.from_environment(**given)


def _announce(addresses: dict[str, str], *, as_json: bool) -> None:
    """Say where everything is, on one line for machines and on three for people."""
    import json
    import sys

    if as_json:
        typer.echo(json.dumps(addresses))
    else:
        names = {"studio": "Studio", "docs": "Interface", "ui": "Streamlit"}
        for name, address in addresses.items():
            typer.echo(f"{names.get(name, name):<10} {address}")
    sys.stdout.flush()
