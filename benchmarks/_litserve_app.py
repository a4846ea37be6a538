"""The predictor behind LitServe, as its documentation has it: for the comparison in serving_load.

python benchmarks/_litserve_app.py RUN PORT THREADS
"""

import io
import sys
from typing import Any

import litserve
import numpy as np
import torch
from fastapi import Request
from PIL import Image

from penumbra.imaging.rle import encode_coco
from penumbra.inference.predictor import Predictor


class Segment(litserve.LitAPI):  # type: ignore[misc]  # the package is not typed
    """Decode, predict, encode; the same work as `POST /v1/segment` does for JSON."""

    def __init__(self, run: str, threads: int, **options: Any) -> None:
        super().__init__(**options)
        self.run, self.threads = run, threads

    def setup(self, device: str) -> None:
        """Load the model in the worker."""
        del device
        torch.set_num_threads(self.threads)
        self.predictor = Predictor.load(self.run)

    def decode_request(self, request: Request) -> Any:
        """Decode the image of a form; the annotation tells LitServe to read one."""
        pixels = np.asarray(Image.open(io.BytesIO(request["image"].file.read())))
        return pixels[..., None] if pixels.ndim == 2 else pixels

    def batch(self, inputs: list[Any]) -> list[Any]:
        """Leave the images as they are: a predictor takes a list."""
        return inputs

    def predict(self, batch: list[Any]) -> list[Any]:
        """Segment a batch."""
        return self.predictor(batch)

    def unbatch(self, output: list[Any]) -> list[Any]:
        """Leave them as they are."""
        return output

    def encode_response(self, output: Any) -> dict[str, Any]:
        """Write what the answer of Penumbra's server holds for a mask."""
        masks = [{"rle": encode_coco(output.mask == 1)}]
        return {"masks": masks, "scores": dict(output.scores), "seed": output.seed}


if __name__ == "__main__":
    run, port, threads = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    api = Segment(run, threads, max_batch_size=8, batch_timeout=0.002)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1)
    server.run(host="127.0.0.1", port=port, num_api_servers=1, generate_client_file=False)
