"""Fetch public data sets from their official addresses, when asked to."""

from penumbra.data.download.catalogue import COLLECTIONS, Collection, RemoteFile, collection_named
from penumbra.data.download.collect import Downloaded, download

__all__ = [
    "COLLECTIONS",
    "Collection",
    "Downloaded",
    "RemoteFile",
    "collection_named",
    "download",
]
