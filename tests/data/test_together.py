"""Duplicates share a group, whatever way they are connected, and torn ones are told."""

from pathlib import Path

import networkx as nx
import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from penumbra.data.layouts import open_source
from penumbra.data.sample import Record
from penumbra.data.source import Source
from penumbra.data.split import split_source
from penumbra.data.together import keep_together, straddling


def bare(groups):
    records = tuple(
        Record(f"s{number}", f"g{group}", Path(f"{number}.png"))
        for number, group in enumerate(groups)
    )
    return Source("folder", Path(), records, ("no", "yes"), None, None)


cases = st.integers(1, 14).flatmap(
    lambda n: st.tuples(
        st.lists(st.integers(0, 6), min_size=n, max_size=n),
        st.lists(st.tuples(st.integers(0, n), st.integers(0, n)), max_size=12),
    )
)


@given(cases)
@settings(deadline=None)
def test_groups_are_the_components_of_groups_and_pairs(drawn):
    groups, pairs = drawn
    source = bare(groups)
    # The last number of the pairs is no sample: an audit may know more than the source.
    together = keep_together(source, [(f"s{a}", f"s{b}") for a, b in pairs])
    graph = nx.Graph()
    for number, group in enumerate(groups):
        graph.add_edge(f"s{number}", ("group", group))
    known = range(len(groups))
    graph.add_edges_from((f"s{a}", f"s{b}") for a, b in pairs if a in known and b in known)
    wanted = {
        frozenset(node for node in part if isinstance(node, str))
        for part in nx.connected_components(graph)
    }
    found = {}
    for record in together.records:
        found.setdefault(record.group, set()).add(record.id)
    assert set(map(frozenset, found.values())) == wanted
    assert [record.id for record in together.records] == [record.id for record in source.records]


def test_untouched_groups_keep_their_names_and_merged_ones_are_named_by_their_parts():
    found = keep_together(bare([1, 2, 3, 4, 10]), [("s0", "s1"), ("s1", "s4"), ("s4", "s2")])
    names = {record.id: record.group for record in found.records}
    assert names["s3"] == "g4"
    assert names["s0"] == "g1+g2+g3+1 more"


def test_a_merged_name_is_nobody_elses():
    source = Source(
        "folder",
        Path(),
        tuple(Record(n, g, Path(n)) for n, g in (("x", "a"), ("y", "b"), ("z", "a+b"))),
        ("no", "yes"),
        None,
        None,
    )
    names = {r.id: r.group for r in keep_together(source, [("x", "y")]).records}
    assert names["x"] == names["y"] != names["z"] == "a+b"


def test_a_split_keeps_duplicates_together(tmp_path):
    for number in range(30):
        for kind in ("images", "masks"):
            path = tmp_path / kind / f"{number}.png"
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(np.full((6, 6), 255 * (number % 2), np.uint8)).save(path)
    source = open_source(tmp_path)
    pairs = [(str(n), str((7 * n + 3) % 30)) for n in range(0, 30, 3)]
    apart = split_source(source, seed=0)
    assert straddling(apart.splits, pairs)
    (finding,) = straddling(apart.splits, pairs)
    assert finding.kind == "leak"
    for seed in range(5):
        together = split_source(keep_together(source, pairs), seed=seed)
        assert straddling(together.splits, pairs) == ()
