"""Bodies of prompts that hold a great many wrong things are refused by few errors."""

import json

import pytest
from pydantic import ValidationError

from penumbra.serving.options import MOST_COMMAS, PromptBody, ReloadBody, UncertaintyOptions

MANY = 600_000
KEYS = {f"k{n}": 1 for n in range(MANY)}
BOX = [0, 0, 9, 9]
HOSTILE = {
    "keys": KEYS,
    "a very long key": {"k" * 6_000_000: 1},
    "boxes": {"boxes": ["x"] * MANY},
    "a box": {"boxes": [["x"] * MANY]},
    "a box of keys": {"boxes": [KEYS]},
    "long boxes": {"boxes": [["x"] * 2000] * 256},
    "boxes by name": {"boxes": KEYS},
    "points": {"points": [["x"]] * MANY},
    "labels": {"points": [[1, 1]], "labels": ["x"] * MANY},
    "a mask of keys": {"mask": KEYS},
    "a mask that is a list": {"mask": ["x"] * MANY},
    "a size": {"mask": {"size": ["x"] * MANY, "counts": "0"}},
    "counts": {"mask": {"size": [4, 4], "counts": ["x"] * MANY}},
    "long counts": {"mask": {"size": [4, 4], "counts": "0" * 6_000_000}},
    "a choice": {"boxes": [BOX], "choice": ["x"] * MANY},
    "no object": ["x"] * MANY,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_body_is_refused_by_few_errors(name):
    with pytest.raises(ValidationError) as refused:
        PromptBody.model_validate(HOSTILE[name])
    assert refused.value.error_count() <= 5


def test_the_first_unknown_field_is_named_and_cut_short():
    with pytest.raises(ValidationError, match="choice, but got 'k0'"):
        PromptBody.model_validate(KEYS)
    with pytest.raises(ValidationError) as refused:
        PromptBody.model_validate({f"{n}" * 5000: 1 for n in range(9)})
    assert len(refused.value.errors()[0]["msg"]) < 200
    with pytest.raises(ValidationError) as refused:
        ReloadBody.model_validate(KEYS)
    assert refused.value.error_count() == 1


def test_the_most_that_may_be_asked_is_taken_and_holds_few_commas():
    box, point = [123456.123456] * 4, [1.5, 2.5]
    mask = {"size": [65_500, 65_500], "counts": "".join(map(chr, range(48, 112)))}
    most = [
        {"boxes": [box] * 256, "mask": mask},
        {"points": [point] * 256, "labels": [1] * 256, "boxes": [box], "choice": "all"},
    ]
    for body in most:
        assert PromptBody.model_validate(body).mask == PromptBody.model_validate(body).mask
    assert json.dumps(most).count(",") < MOST_COMMAS
    for body in ({"boxes": [box] * 257}, {"boxes": [[*box, 1]]}, {"points": [[1]]}):
        with pytest.raises(ValidationError):
            PromptBody.model_validate(body)


def test_the_passes_that_are_suggested_are_possible():
    with pytest.raises(ValueError, match=r"1 to 4 here, but got 64\. Try 4"):
        UncertaintyOptions(samples=64).check_samples(4)
