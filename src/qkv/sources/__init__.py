"""Where data and weights come from: named folders, the cache, packages, verified downloads."""

from __future__ import annotations

from qkv.sources.artefact import Artefact, Content, install, read_verified
from qkv.sources.cache import cache_dir
from qkv.sources.collection import Collection, Located, locate
from qkv.sources.debian import DebianPackage, fetch_debian
from qkv.sources.download import Patience, download
from qkv.sources.transfer import Progress

__all__ = [
    "Artefact",
    "Collection",
    "Content",
    "DebianPackage",
    "Located",
    "Patience",
    "Progress",
    "cache_dir",
    "download",
    "fetch_debian",
    "install",
    "locate",
    "read_verified",
]
