"""Where data and weights come from: named folders, the cache, packages, verified downloads."""

from __future__ import annotations

from qkv.sources.archive import ArchiveLimits, archive_members
from qkv.sources.artefact import Artefact, Content, install, read_verified
from qkv.sources.cache import cache_dir
from qkv.sources.collection import Collection, Located, locate
from qkv.sources.debian import DebianPackage, fetch_debian
from qkv.sources.download import Patience, download
from qkv.sources.hub import HubSnapshot, hub_files
from qkv.sources.transfer import Progress

__all__ = [
    "ArchiveLimits",
    "Artefact",
    "Collection",
    "Content",
    "DebianPackage",
    "HubSnapshot",
    "Located",
    "Patience",
    "Progress",
    "archive_members",
    "cache_dir",
    "download",
    "fetch_debian",
    "hub_files",
    "install",
    "locate",
    "read_verified",
]
