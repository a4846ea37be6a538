"""A chain of filters: one line of an experiment file, the same for every model."""

from __future__ import annotations

import difflib
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import ConfigDict, RootModel, SerializeAsAny, ValidationError, model_validator
from pydantic_core import PydanticUndefined

from penumbra.errors import SettingsError, expected
from penumbra.imaging.filters.contrast import Clahe, Unsharp, Window
from penumbra.imaging.filters.edges import Canny, LaplacianOfGaussian, Sobel
from penumbra.imaging.filters.levels import DisplayRange, checked, luma
from penumbra.imaging.filters.step import EdgeFilter, Filter

FILTERS: dict[str, type[Filter]] = {
    kind.name: kind for kind in (Sobel, Canny, LaplacianOfGaussian, Clahe, Window, Unsharp)
}
"""All filters by the name that an experiment file knows them by."""

_VERSION = 1
"""Of what the filters compute; to be raised when a filter's result changes, so that nothing kept
under a chain's digest is met again."""
_MOST = 8


class FilterChain(RootModel[tuple[SerializeAsAny[Filter], ...]]):
    """Filters that are applied to a whole image, one after the other.

    In a file a chain is a list; a name stands for a filter with its defaults, and a name with
    settings for itself::

        filters: [clahe, {sobel: {mode: blend, weight: 0.3}}]

    **What goes in and comes out.** Images (H, W, C) of uint8, uint16 or float32, C = 1 or 3. The
    result has the same height, width and type, its values lie in the image's display range (0–255
    for uint8, from the least to the greatest value for other types), and C stays, save that a
    filter of ``mode: channels`` gives three. Between filters nothing is rounded. A uint16 or
    float32 image of one value stays as it is. The result depends on the image and the chain alone.

    **Whole images.** Percentiles, histograms and the scale of edges are those of the whole image.
    A network that works in tiles therefore meets tiles of the filtered image, never filtered
    tiles: the result does not depend on where tiles lie.

    Attributes:
        root: the filters; `steps` is the same.

    Examples:
        >>> chain = FilterChain.parse(["clahe", {"sobel": {"mode": "blend", "weight": 0.3}}])
        >>> image = np.tile(np.arange(64, dtype=np.uint8), (64, 1))[..., None]
        >>> changed = chain.apply(image)
        >>> changed.shape, changed.dtype, chain.digest[:8]
        ((64, 64, 1), dtype('uint8'), '...')
    """

    model_config = ConfigDict(frozen=True)

    root: tuple[SerializeAsAny[Filter], ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _read(cls, value: Any) -> Any:
        # Nothing given: the default, an empty chain.
        return value if value is PydanticUndefined else _steps_of(value)

    def model_post_init(self, _context: Any) -> None:
        """Check that the filters can follow each other.

        Raises:
            SettingsError: there are more than 8, two of ``mode: prompt``, or one after
                ``mode: channels``.
        """
        modes = [step.mode for step in self.root]
        if len(modes) > _MOST:
            raise SettingsError(
                expected("`filters`", f"at most {_MOST} filters", len(modes), "fewer")
            )
        if modes.count("prompt") > 1:
            raise SettingsError(
                expected("`filters`", "at most one filter of mode: prompt", modes.count("prompt"),
                         "one of them")
            )  # fmt: skip
        if "channels" in modes[:-1]:
            raise SettingsError(
                expected("the filter of mode: channels", "the last one, since its three channels "
                         "are no colours", f"{self.root[-1].name} after it", "moving it back")
            )  # fmt: skip

    @classmethod
    def parse(cls, value: object) -> Self:
        """Make a chain of a list as in a file, of YAML text, of a chain, or of nothing.

        Raises:
            SettingsError: a filter or a setting does not exist, or a value is out of its range.

        Examples:
            >>> FilterChain.parse("[clahe, {log: {sigma: 3}}]").names
            ('clahe', 'log')
            >>> FilterChain.parse("sobel") == FilterChain.parse([{"sobel": {}}])
            True
        """
        if isinstance(value, cls):
            return value
        return cls(_steps_of(value))

    @property
    def steps(self) -> tuple[Filter, ...]:
        """The filters."""
        return self.root

    @property
    def names(self) -> tuple[str, ...]:
        """Their names."""
        return tuple(step.name for step in self.root)

    def __bool__(self) -> bool:
        return bool(self.root)

    def __len__(self) -> int:
        return len(self.root)

    @property
    def prompt(self) -> EdgeFilter | None:
        """The filter whose edges become a prompt, where there is one."""
        found = [s for s in self.root if s.mode == "prompt" and isinstance(s, EdgeFilter)]
        return found[0] if found else None

    @property
    def pixels(self) -> FilterChain:
        """The chain without its prompt: all that an embedding depends on."""
        return FilterChain(tuple(step for step in self.root if step.mode != "prompt"))

    @property
    def stacks(self) -> bool:
        """Whether the result has three channels whatever the image has."""
        return bool(self.root) and self.root[-1].mode == "channels"

    @functools.cached_property
    def text(self) -> str:
        """One line with every setting in force, the same for equal chains; `parse` reads it."""
        plain = [step.model_dump(mode="json") for step in self.root]
        return json.dumps(plain, sort_keys=True, separators=(",", ":"))

    @functools.cached_property
    def digest(self) -> str:
        """SHA-256 of the text and of the version of the filters, in hexadecimal; a cache key."""
        return hashlib.sha256(str(self).encode()).hexdigest()

    @property
    def label(self) -> str:
        """A short name for tables and for people, with modes and without further settings.

        Examples:
            >>> FilterChain.parse("[clahe, {sobel: {mode: blend, weight: 0.3}}]").label
            'clahe, sobel (blend 0.3)'
        """
        return ", ".join(map(_said, self.root)) or "none"

    def __str__(self) -> str:
        # What is kept by a chain's text must be told apart by every setting and by the version.
        return f"filters {_VERSION} {self.text}"

    def apply(self, image: NDArray[np.generic]) -> NDArray[np.generic]:
        """Filter a whole image.

        Args:
            image: (H, W, C), uint8, uint16 or float32, C = 1 or 3; other real types are taken as
                float32.

        Returns:
            (H, W, C) of the same type; (H, W, 3) after ``mode: channels``. An empty chain, or one
            of prompts alone, gives the image itself.

        Raises:
            ImageFileError: the image has another shape or type, or is not finite.
        """
        image = checked(image)
        if not self.pixels:
            return image
        shown = DisplayRange.of(image)
        if not shown.high > shown.low:
            return np.repeat(image[..., :1], 3, axis=2) if self.stacks else image.copy()
        return shown.to_values(_through(self.root, shown.to_levels(image)))

    def edge_map(self, image: NDArray[np.generic]) -> NDArray[np.float32]:
        """Give the edges that ``mode: prompt`` finds, after the filters before it.

        Args:
            image: as for `apply`.

        Returns:
            (H, W) float32 in 0–1; zeros for a constant image.

        Raises:
            ImageFileError: the image has another shape or type, or is not finite.
            SettingsError: no filter has ``mode: prompt``.
        """
        finder = self.prompt
        if finder is None:
            raise SettingsError(
                expected("`filters`", "with one of mode: prompt", self.label,
                         "{sobel: {mode: prompt}} at its end")
            )  # fmt: skip
        image = checked(image)
        levels = DisplayRange.of(image).to_levels(image)
        before = self.root[: self.root.index(finder)]
        return finder.edges(np.ascontiguousarray(luma(_through(before, levels))))


def _through(steps: Sequence[Filter], levels: NDArray[np.float32]) -> NDArray[np.float32]:
    for step in steps:
        levels = step.changed(levels, contrast=Clahe(), edge=Sobel())
    return levels


def _said(step: Filter) -> str:
    if step.mode == "replace":
        return step.name
    how = f"blend {step.weight:g}" if step.mode == "blend" else step.mode
    return f"{step.name} ({how})"


def _steps_of(value: object) -> tuple[Filter, ...]:
    """Read the list of a chain."""
    if isinstance(value, str):
        try:
            value = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise SettingsError(
                expected("`filters`", "YAML", repr(value), "[clahe, {sobel: {mode: blend}}]")
            ) from error
    if value is None:
        return ()
    if isinstance(value, FilterChain):
        return value.steps
    if isinstance(value, str | Mapping | Filter):
        value = [value]
    if not isinstance(value, Sequence):
        raise SettingsError(
            expected("`filters`", "a list of filters", repr(value),
                     "[clahe, {sobel: {mode: blend, weight: 0.3}}]")
        )  # fmt: skip
    return tuple(map(_step_of, value))


def _step_of(item: object) -> Filter:
    """Read one filter: a name, or a name with settings."""
    if isinstance(item, Filter):
        return item
    if isinstance(item, Mapping) and len(item) == 1:
        name, settings = next(iter(item.items()))
    else:
        name, settings = item, None
    kind = FILTERS.get(name) if isinstance(name, str) else None
    if kind is None:
        near = difflib.get_close_matches(str(name), FILTERS, n=1)
        raise SettingsError(
            expected("every filter", f"one of {', '.join(FILTERS)}, alone or as name: {{settings}}",
                     repr(name), repr(near[0]) if near else "[clahe, {sobel: {mode: blend}}]")
        )  # fmt: skip
    try:
        return kind.model_validate({} if settings is None else settings)
    except ValidationError as error:
        raise SettingsError(_problem(error, kind)) from error


def _problem(error: ValidationError, kind: type[Filter]) -> str:
    first = error.errors()[0]
    key = ".".join(map(str, first["loc"]))
    known = ", ".join(kind.model_fields)
    if not key:
        return expected(f"the settings of the filter {kind.name}", f"key: value ({known})",
                        repr(first["input"]), f"{{{kind.name}: {{mode: blend}}}}")  # fmt: skip
    if first["type"] == "extra_forbidden":
        near = difflib.get_close_matches(key, kind.model_fields, n=1)
        return expected(f"every setting of the filter {kind.name}", f"one of {known}", repr(key),
                        repr(near[0]) if near else "leaving it out")  # fmt: skip
    wanted = first["msg"][:1].lower() + first["msg"][1:]
    return expected(f"`{key}` of the filter {kind.name}", f"valid ({wanted})",
                    repr(first["input"]), "its default")  # fmt: skip
