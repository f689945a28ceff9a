"""The places of the catalogue: each is opened once, then searched for the files that rows name."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import Protocol
from urllib.parse import quote

from openo3.annotations.catalogue.table import Place
from openo3.annotations.sources import Reference
from openo3.fetch.endings import Endings, shared
from openo3.fetch.http import Http
from openo3.fetch.hub import HubRepo
from openo3.fetch.limits import Limits
from openo3.fetch.origin import Origin
from openo3.fetch.plan import PlaceAway, Unavailable
from openo3.fetch.random_access import LocalFile, RandomAccessFile
from openo3.fetch.site import SiteVideo
from openo3.fetch.tars import TarMember, TarSeries
from openo3.fetch.zips import ZipArchive, ZipMember
from openo3.files.safe_path import Root, UnsafePath, relative


class Finder(Protocol):
    """`find` gives the origin of a file, or raises `Unavailable` with the reason."""

    def find(self, reference: Reference) -> Origin: ...


class Places:
    """Opens each place once, whichever thread asks first. `root` is what relative folders are relative to."""

    def __init__(self, http: Http, root: Path, limits: Limits) -> None:
        self._http, self._root, self._limits = http, root, limits
        self._repos: dict[tuple[str, str | None], HubRepo] = {}
        self._opened: dict[Place, Finder | PlaceAway] = {}
        self._lock = Lock()

    def open(self, place: Place) -> Finder:
        """Raises `PlaceAway` if the place is unavailable, `FetchError` if the hub wants a login."""
        with self._lock:
            if place not in self._opened:
                try:
                    self._opened[place] = self._open(place)
                except Unavailable as why:
                    self._opened[place] = PlaceAway(why.problem, why.detail)
                except OSError as error:
                    self._opened[place] = PlaceAway("missing", f"{error.filename}: {error.strerror}")
        opened = self._opened[place]
        if isinstance(opened, PlaceAway):
            raise opened
        return opened

    def blobs(self, place: Place) -> list[RandomAccessFile]:
        """The files that the place's paths name, in their order; patterns alphabetically."""
        return [blob for path in place.paths for blob in self._matching(place, path)]

    def _open(self, place: Place) -> Finder:
        match place.packing:
            case "zip":
                return _Zips([ZipArchive.open(blob, _no_part) for blob in self.blobs(place)], self._limits)
            case "split zip":
                archives = [
                    ZipArchive.open(last, self._part_of(place, path))
                    for path in place.paths
                    for last in self._matching(place, path)
                ]
                return _Zips(archives, self._limits)
            case "tar":
                return _Tars(TarSeries(tuple(self.blobs(place))))
        if place.hub:
            folder = place.paths[0]
            return _Files(self._repo(place).files(folder), folder, place.name)
        if place.url:
            return _Addresses(self._http, "/".join(filter(None, [place.url.rstrip("/"), *place.paths])))
        if place.folder:
            folder = self._folder(place) / place.paths[0]
            if not folder.is_dir():
                raise Unavailable("missing", f"{folder}: no such folder")
            return _Folder(folder)
        return _Site(place.site, self._limits)

    def _matching(self, place: Place, path: str) -> list[RandomAccessFile]:
        if place.url:
            return [self._http.look(_address(place.url, path))]
        if place.folder:
            found = [LocalFile(each) for each in sorted(self._folder(place).glob(path)) if each.is_file()]
        else:
            fixed = path[: min((path.find(sign) for sign in "*?[" if sign in path), default=len(path))]
            tree = self._repo(place).files(fixed.rpartition("/")[0])
            found = [blob for name, blob in sorted(tree.items()) if name == path or fnmatchcase(name, path)]
        if not found:
            raise Unavailable("missing", f"{place.name} is not there")
        return found

    def _part_of(self, place: Place, last: str) -> Callable[[str], RandomAccessFile]:
        def part(suffix: str) -> RandomAccessFile:
            return self._matching(place, last.removesuffix(".zip") + suffix)[0]

        return part

    def _repo(self, place: Place) -> HubRepo:
        key = (place.hub, place.revision)
        if key not in self._repos:
            self._repos[key] = HubRepo.open(self._http, *key)
        return self._repos[key]

    def _folder(self, place: Place) -> Path:
        return self._root / Path(place.folder).expanduser()


def _no_part(suffix: str) -> RandomAccessFile:
    raise ValueError("it is split: its packing is `split zip`")


def _address(base: str, path: str) -> str:
    return f"{base.rstrip('/')}/{quote(path)}"


class _Files:
    """Files of a hub dataset."""

    def __init__(self, files: Mapping[str, RandomAccessFile], folder: str, name: str) -> None:
        self._files, self._folder, self._name = files, folder, name

    def find(self, reference: Reference) -> Origin:
        path = f"{self._folder}/{reference.path}" if self._folder else reference.path
        if path not in self._files and reference.source.benchmark:
            path = _only(self._endings.find(path), path)
        if path not in self._files:
            raise Unavailable("missing", f"not in {self._name}")
        return self._files[path]

    @cached_property
    def _endings(self) -> Endings:
        return Endings(self._files)


class _Addresses:
    """Files below an address."""

    def __init__(self, http: Http, base: str) -> None:
        self._http, self._base = http, base

    def find(self, reference: Reference) -> Origin:
        return self._http.look(_address(self._base, reference.path))


class _Folder:
    """Files below a folder on this machine."""

    def __init__(self, folder: Path) -> None:
        self._folder = SearchedFolder(folder)

    def find(self, reference: Reference) -> Origin:
        folder = self._folder.root.folder
        try:
            if file := self._folder.find(reference):
                return LocalFile(file)
        except UnsafePath as error:
            raise Unavailable("unsafe", f"{folder}/{reference.path}: {error}") from None
        raise Unavailable("missing", f"not in {folder}")


class SearchedFolder:
    """Files below a folder on this machine; those of benchmarks are found by the end of their path too."""

    def __init__(self, folder: Path) -> None:
        self.root = Root(folder)

    def find(self, reference: Reference) -> Path | None:
        """The file, None if it is not there. Raises `UnsafePath` and `Unavailable`."""
        path = reference.path
        if not self.root.find(path) and reference.source.benchmark:
            path = _only(self._endings.find(path), path)
        return self.root.folder / path if self.root.find(path) else None

    @cached_property
    def _endings(self) -> Endings:
        """Made once, when a file is not where its path says."""
        folder = self.root.folder
        files = (each for each in folder.rglob("*") if each.is_file()) if folder.is_dir() else ()
        return Endings(each.relative_to(folder).as_posix() for each in files)


def _only(found: list[str], wanted: str) -> str:
    """The only path that was found, else the wanted one."""
    if len(found) > 1:
        raise Unavailable("unreadable", f"{len(found)} files could be {wanted}: {', '.join(found[:3])}")
    return found[0] if found else wanted


class _Site:
    """Videos of a site, through yt-dlp if that is installed."""

    def __init__(self, address: str, limits: Limits) -> None:
        if importlib.util.find_spec("yt_dlp") is None:
            raise Unavailable("missing", f"{address}: needs yt-dlp (`uv pip install yt-dlp`)")
        self._address, self._limits = address, limits

    def find(self, reference: Reference) -> Origin:
        name = reference.path.rpartition("/")[2].rpartition(".")[0]
        return SiteVideo(self._address.replace("{name}", quote(name, safe="")), self._limits)


class _Tars:
    def __init__(self, series: TarSeries) -> None:
        self._series = series

    def find(self, reference: Reference) -> Origin:
        return TarMember(self._series, reference.path)


class _Zips:
    """Members of one zip archive or several.

    How deep an archive's own folders are differs from archive to archive, so a file is the member whose path
    ends in the row's. Of several the one is taken that shares most of the published path before that too. If
    there is none, a benchmark's file is the member that shares the longest end.
    """

    def __init__(self, archives: Iterable[ZipArchive], limits: Limits) -> None:
        self._limits = limits
        self._archives = [archive.blob.name for archive in archives]
        self._by_name: dict[str, list[tuple[list[str], ZipMember]]] = {}
        self._unsafe: dict[str, str] = {}  # by file name: why the member is not even looked at
        for member in (member for archive in archives for member in archive.members):
            try:
                parts = relative(member.path).split("/")
            except UnsafePath as error:
                self._unsafe.setdefault(member.path.rpartition("/")[2], f"{member.name}: {error}")
            else:
                self._by_name.setdefault(parts[-1], []).append((parts, member))

    def find(self, reference: Reference) -> Origin:
        wanted = reference.path.split("/")
        named = self._by_name.get(wanted[-1], ())
        ending = [(p, m) for p, m in named if p[-len(wanted) :] == wanted]
        if not ending and reference.source.benchmark:
            ending = list(named)
        if not ending:
            if wanted[-1] in self._unsafe:
                raise Unavailable("unsafe", self._unsafe[wanted[-1]])
            raise Unavailable("missing", f"not in {' '.join(self._archives)}")
        most = max(shared("/".join(parts), reference.media) for parts, _ in ending)
        best = [member for parts, member in ending if shared("/".join(parts), reference.media) == most]
        if len({(member.size, member.crc32) for member in best}) > 1:
            names = ", ".join(member.path for member in best[:3])
            raise Unavailable("unreadable", f"{len(best)} different members could be it: {names}")
        best[0].check(self._limits)
        return best[0]
