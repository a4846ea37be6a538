"""Groups are connected components, as SciPy finds them."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from penumbra.audit.groups import connected


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=40))
def test_groups_are_connected_components(links):
    a, b = np.array(links, dtype=int).reshape(-1, 2).T
    _, labels = connected_components(coo_matrix((np.ones(len(a)), (a, b)), shape=(20, 20)))
    wanted = {
        tuple(np.flatnonzero(labels == label).tolist())
        for label in set(labels.tolist())
        if (labels == label).sum() > 1
    }
    assert set(connected(20, links)) == wanted
