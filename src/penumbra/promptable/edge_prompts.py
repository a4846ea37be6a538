"""Edges as prompts: a filter of ``mode: prompt`` becomes a mask prompt or points.

The idea is that of edge maps given to the prompt encoder instead of the image encoder
([Edge2Prompt](https://arxiv.org/abs/2508.04305)); what the edges enclose, and where points go, is
this project's own rule: see `likely_inside` and `points_inside`.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray

from penumbra.errors import SettingsError, expected
from penumbra.imaging.filters import FilterChain
from penumbra.promptable.enclosed import likely_inside
from penumbra.promptable.prompts import OBJECT, PADDING, Prompts


def edge_prompts(
    chain: FilterChain, image: NDArray[np.generic], prompts: Prompts | None = None
) -> Prompts:
    """Add what an image's edges enclose to its prompts, in the form that the chain says.

    Every prompt gets a mask, or points, of the area that edges enclose in its box, or around its
    first point on the object, or, without either, in the whole image.

    Args:
        chain: with one filter of ``mode: prompt``; other filters before it change the image in
            which edges are looked for.
        image: (H, W, C), uint8, uint16 or float32, as it is before any filter.
        prompts: on this image; without them there will be one.

    Returns:
        The same number of prompts, with masks (N, H, W) of likelihoods, or with more points
        (padded by label −1 where an area has too few pixels).

    Raises:
        SettingsError: no filter has ``mode: prompt``; the prompts are of another image's size, or
            bring a mask of their own where edges are to become one.
        ImageFileError: the image has another shape or type, or is not finite.

    Examples:
        >>> image = np.zeros((32, 32, 1), np.uint8)
        >>> image[8:24, 8:24] = 200
        >>> chain = FilterChain.parse({"sobel": {"mode": "prompt", "form": "points", "points": 1}})
        >>> found = edge_prompts(chain, image, Prompts.of(boxes=[6, 6, 26, 26], size=(32, 32)))
        >>> bool((abs(found.points - 16) < 4).all()), found.labels.tolist()
        (True, [[1]])
    """
    edges, finder = chain.edge_map(image), chain.prompt
    size = (edges.shape[0], edges.shape[1])
    if prompts is not None and prompts.size != size:
        raise SettingsError(
            expected("the prompts", f"on this image of {size[1]}×{size[0]} pixels",
                     f"{prompts.size[1]}×{prompts.size[0]}", "prompts made for it")
        )  # fmt: skip
    count = 1 if prompts is None else len(prompts)
    likely = np.stack([_inside_of(edges, prompts, number) for number in range(count)])
    if finder is None or finder.form != "points":
        if prompts is not None and prompts.masks is not None:
            raise SettingsError(
                expected("the prompts", "without a mask where edges become one", "one of each",
                         "form: points, or leaving either out")
            )  # fmt: skip
        made = Prompts(size) if prompts is None else prompts
        return replace(made, masks=likely, masks_are_logits=False)
    found = [points_inside(plane, finder.points or 3) for plane in likely]
    points = np.stack([points for points, _ in found])
    labels = np.stack([labels for _, labels in found])
    if prompts is None:
        return Prompts(size, points=points, labels=labels)
    if prompts.points is not None and prompts.labels is not None:
        points = np.concatenate([prompts.points, points], axis=1)
        labels = np.concatenate([prompts.labels, labels], axis=1)
    return replace(prompts, points=points, labels=labels)


def _inside_of(
    edges: NDArray[np.float32], prompts: Prompts | None, number: int
) -> NDArray[np.float32]:
    box = point = None
    if prompts is not None and prompts.boxes is not None:
        x0, y0, x1, y1 = (float(value) for value in prompts.boxes[number])
        box = (x0, y0, x1, y1)
    if prompts is not None and prompts.points is not None and prompts.labels is not None:
        on = prompts.points[number][prompts.labels[number] == OBJECT]
        point = (float(on[0][0]), float(on[0][1])) if len(on) else None
    return likely_inside(edges, box=box, point=point)


def points_inside(
    likely: NDArray[np.float32], count: int
) -> tuple[NDArray[np.float32], NDArray[np.int8]]:
    """Place points in the area whose likelihood is at least ½: deep inside, and apart.

    The first is the pixel that is farthest from the area's border; each further one has the
    greatest min(depth, distance to the points before). Of equals the first in reading order.

    Args:
        likely: (H, W) in 0–1.
        count: how many.

    Returns:
        Points (count, 2) float32, (column, row) of pixels, and labels (count,) int8: 1, or −1
        for points that an area of fewer pixels has no room for.

    Examples:
        >>> likely = np.zeros((5, 9), np.float32)
        >>> likely[1:4, 1:4] = 1
        >>> points, labels = points_inside(likely, 2)
        >>> points[0].tolist(), labels.tolist()
        ([2.0, 2.0], [1, 1])
    """
    area = np.pad((likely >= 0.5).astype(np.uint8), 1)
    depth = cv2.distanceTransform(area, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    value = np.asarray(depth, dtype=np.float32)
    points = np.zeros((count, 2), dtype=np.float32)
    labels = np.full(count, PADDING, dtype=np.int8)
    y, x = np.mgrid[: likely.shape[0], : likely.shape[1]].astype(np.float32)
    for number in range(count):
        row, column = np.unravel_index(int(np.argmax(value)), value.shape)
        if not value[row, column] > 0:
            break
        points[number], labels[number] = (column, row), OBJECT
        value = np.minimum(value, np.hypot(x - np.float32(column), y - np.float32(row)))
    return points, labels
