"""What a server may be set up as, and which keys are let in."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from penumbra.errors import SettingsError
from penumbra.serving.addresses import is_loopback
from penumbra.serving.kept import Kept
from penumbra.serving.keys import ApiKeys, key_of, read_keys
from penumbra.serving.limits import TokenBuckets
from penumbra.serving.settings import ServeSettings, named


def test_runs_come_from_the_environment():
    settings = ServeSettings.from_environment({
        "PENUMBRA_RUNS": "first=runs/first, runs/second,classical:otsu,foreground=bright,a=b",
        "PENUMBRA_PROMPTABLE": "sam=models/sam",
        "PENUMBRA_MAX_QUEUE": "4",
        "PENUMBRA_CORS_ORIGINS": "https://a.example, https://b.example",
        "PENUMBRA_UI": "false",
    })  # fmt: skip
    assert settings.runs == {
        "first": "runs/first", "second": "runs/second",
        "otsu": "classical:otsu,foreground=bright", "a": "b",
    }  # fmt: skip
    assert settings.promptable == {"sam": "models/sam"}
    assert settings.max_queue == 4
    assert settings.cors_origins == ("https://a.example", "https://b.example")
    assert not settings.ui


@pytest.mark.parametrize(
    "wrong",
    [
        {"workers": 0},
        {"max_batch": "many"},
        {"nonsense": 1},
        {"port": 70_000},
        {"host": "0.0.0.0"},
        {"host": "192.168.1.2"},
        {"runs": {"a b": "x"}},
        {"runs": {"a": "x"}, "promptable": {"a": "y"}},
        {"rate_per_s": float("nan")},
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(wrong):
    with pytest.raises(SettingsError, match=r"^Expected .* but got .* Try .*\.$") as caught:
        ServeSettings.of(**wrong)
    assert "\n" not in str(caught.value)


def test_other_hosts_need_keys(tmp_path):
    with pytest.raises(SettingsError, match="--api-key-file"):
        ServeSettings.of(host="0.0.0.0")
    assert ServeSettings.of(host="0.0.0.0", api_key_file=tmp_path / "keys").host == "0.0.0.0"


def test_names_are_given_once():
    with pytest.raises(SettingsError, match="given once"):
        named(["runs/a", "elsewhere/a"])


@pytest.mark.parametrize(
    ("host", "own"),
    [("127.0.0.1", True), ("127.8.8.8", True), ("::1", True), ("localhost", True),
     ("0.0.0.0", False), ("::", False), ("example.org", False), ("localhost.example.org", False)],
)  # fmt: skip
def test_loopback_is_known(host, own):
    assert is_loopback(host) is own


# --- keys --------------------------------------------------------------------------------------


def test_keys_are_read_from_a_file(tmp_path):
    file = tmp_path / "keys"
    file.write_text("# ours\n\nabcdefghijklmnop\n  qrstuvwxyz0123456\n")
    keys = read_keys(file)
    assert len(keys) == 2
    assert keys.holder("abcdefghijklmnop") == "key-1"
    assert keys.holder("qrstuvwxyz0123456") == "key-2"
    assert keys.holder("# ours") is None
    assert keys.holder("") is None
    assert keys.holder(None) is None


@pytest.mark.parametrize(
    "text",
    ["", "# nothing\n", "too-short\n", "has blanks in the middle\n", "a" * 16 + "\n" + "a" * 16,
     "ümlaut-is-no-ascii-sign"],
)  # fmt: skip
def test_a_wrong_file_of_keys_is_refused_without_showing_a_key(tmp_path, text):
    file = tmp_path / "keys"
    file.write_text(text, encoding="utf-8")
    with pytest.raises(SettingsError) as caught:
        read_keys(file)
    for line in text.splitlines():
        assert not line or line.startswith("#") or line not in str(caught.value)
    with pytest.raises(SettingsError, match="readable"):
        read_keys(tmp_path / "none")


@given(st.lists(st.text(min_size=1), unique=True, max_size=5), st.text())
def test_only_known_keys_are_let_in(known, other):
    keys = ApiKeys(known)
    assert [keys.holder(key) for key in known] == [f"key-{n + 1}" for n in range(len(known))]
    assert (keys.holder(other) is not None) == (other in known)


def test_two_headers_carry_keys():
    assert key_of([(b"authorization", b"Bearer  abc ")]) == "abc"
    assert key_of([(b"x-api-key", b"abc")]) == "abc"
    assert key_of([(b"authorization", b"Basic abc"), (b"cookie", b"abc")]) is None


# --- what is kept, and how often one may ask ---------------------------------------------------


@given(
    st.lists(st.tuples(st.floats(0, 20), st.integers(0, 60), st.booleans()), max_size=40),
    st.booleans(),
)
def test_what_is_kept_stays_within_its_bounds(steps, renew):
    now = [0.0]
    store = Kept(ttl_s=30, most_bytes=100, renew=renew, clock=lambda: now[0])
    alive = {}
    for passed, size, again in steps:
        now[0] += passed
        if again and alive:
            name = next(iter(alive))
            if store.get(name) is not None and renew:
                alive[name] = now[0]
        name = store.put(size, n_bytes=size)
        alive[name] = now[0]
        assert store.n_bytes <= 100
        assert store.get(name) == size
        for name, since in alive.items():
            if now[0] - since > 30:
                assert store.get(name) is None
    assert store.put("large", n_bytes=101) is None
    assert len({name for name in alive if store.get(name) is not None}) == len(store)


def test_a_bucket_fills_up_again():
    now = [0.0]
    buckets = TokenBuckets(rate=4, burst=3, clock=lambda: now[0])
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.25]
    assert buckets.take("b") == 0
    now[0] = 0.25
    assert [buckets.take("a") for _ in range(2)] == [0, 0.25]
    now[0] = 100
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 0.25]
