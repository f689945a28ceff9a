"""Open the places of the catalogue, each once, and find the files that rows name in them."""

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
from openo3.fetch.http import Http
from openo3.fetch.hub import HubRepo
from openo3.fetch.limits import Limits
from openo3.fetch.origin import Origin
from openo3.fetch.path_suffixes import PathSuffixIndex, clip_name, shared_suffix_length
from openo3.fetch.plan import PlaceUnreachable, Unavailable
from openo3.fetch.random_access import LocalFile, RandomAccessFile
from openo3.fetch.site import SiteVideo
from openo3.fetch.tars import TarMember, TarSeries
from openo3.fetch.zips import ZipArchive, ZipMember
from openo3.files.safe_path import Root, UnsafePath, relative


class Finder(Protocol):
    """Finds files in one place. `find` returns the origin of a file or raises `Unavailable`."""

    def find(self, reference: Reference) -> Origin: ...


class Places:
    """Opens each place once; threads may share it. Relative folders are relative to `root`."""

    def __init__(self, http: Http, root: Path, limits: Limits) -> None:
        self._http, self._root, self._limits = http, root, limits
        self._repos: dict[tuple[str, str | None], HubRepo] = {}
        self._opened: dict[Place, Finder | PlaceUnreachable] = {}
        self._lock = Lock()

    def open(self, place: Place) -> Finder:
        """Open a place. Raises `PlaceUnreachable` if it is unavailable, `FetchError` without a login."""
        with self._lock:
            if place not in self._opened:
                try:
                    self._opened[place] = self._open(place)
                except Unavailable as why:
                    self._opened[place] = PlaceUnreachable(why.problem, why.detail)
                except OSError as error:
                    self._opened[place] = PlaceUnreachable("missing", f"{error.filename}: {error.strerror}")
        opened = self._opened[place]
        if isinstance(opened, PlaceUnreachable):
            raise opened
        return opened

    def files(self, place: Place) -> list[RandomAccessFile]:
        """The files that the place's paths name, in that order. The matches of a pattern are sorted."""
        return [file for path in place.paths for file in self._matching(place, path)]

    def _open(self, place: Place) -> Finder:
        match place.packing:
            case "zip":
                return _Zips([ZipArchive.open(file, _no_part) for file in self.files(place)], self._limits)
            case "split zip":
                archives = [
                    ZipArchive.open(last, self._part_of(place, path))
                    for path in place.paths
                    for last in self._matching(place, path)
                ]
                return _Zips(archives, self._limits)
            case "tar":
                return _Tars(TarSeries(tuple(self.files(place))))
        if place.hub:
            folder = place.paths[0]
            return _Files(self._repo(place.hub, place.revision).files(folder), folder, place.name)
        if place.url:
            return _Addresses(self._http, "/".join(filter(None, [place.url.rstrip("/"), *place.paths])))
        if place.folder:
            folder = self._folder(place.folder) / place.paths[0]
            if not folder.is_dir():
                raise Unavailable("missing", f"{folder}: no such folder")
            return _Folder(folder)
        if place.site:
            return _Site(place.site, self._limits)
        raise Unavailable("missing", f"{place.name}: has no hub, url, folder or site")

    def _matching(self, place: Place, path: str) -> list[RandomAccessFile]:
        if place.url:
            return [self._http.file(_address(place.url, path))]
        found: list[RandomAccessFile] = []
        if place.folder:
            matches = sorted(self._folder(place.folder).glob(path))
            found += [LocalFile(each) for each in matches if each.is_file()]
        elif place.hub:
            fixed = path[: min((path.find(sign) for sign in "*?[" if sign in path), default=len(path))]
            tree = self._repo(place.hub, place.revision).files(fixed.rpartition("/")[0])
            named = sorted(tree.items())
            found += [file for name, file in named if name == path or fnmatchcase(name, path)]
        if not found:
            raise Unavailable("missing", f"{place.name}: not found")
        return found

    def _part_of(self, place: Place, last: str) -> Callable[[str], RandomAccessFile]:
        def part(suffix: str) -> RandomAccessFile:
            return self._matching(place, last.removesuffix(".zip") + suffix)[0]

        return part

    def _repo(self, hub: str, revision: str | None) -> HubRepo:
        key = (hub, revision)
        if key not in self._repos:
            self._repos[key] = HubRepo.open(self._http, *key)
        return self._repos[key]

    def _folder(self, folder: str) -> Path:
        return self._root / Path(folder).expanduser()


def _no_part(suffix: str) -> RandomAccessFile:
    raise ValueError("it is a split archive: set its packing to `split zip`")


def _address(base: str, path: str) -> str:
    return f"{base.rstrip('/')}/{quote(path)}"


class _Files:
    """Files of a hub dataset."""

    def __init__(self, files: Mapping[str, RandomAccessFile], folder: str, name: str) -> None:
        self._files, self._folder, self._name = files, folder, name

    def find(self, reference: Reference) -> Origin:
        path = f"{self._folder}/{reference.path}" if self._folder else reference.path
        if reference.any_ending:
            path = _only(self._suffix_index.find_clip(path), path, clip_name(path))
        elif path not in self._files and reference.source.benchmark:
            path = _only(self._suffix_index.find(path), path)
        if path not in self._files:
            raise Unavailable("missing", f"not in {self._name}")
        return self._files[path]

    @cached_property
    def _suffix_index(self) -> PathSuffixIndex:
        return PathSuffixIndex(self._files)


class _Addresses:
    """Files below an address."""

    def __init__(self, http: Http, base: str) -> None:
        self._http, self._base = http, base

    def find(self, reference: Reference) -> Origin:
        return self._http.file(_address(self._base, reference.path))


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
    """Files below a folder on this machine. Files of benchmarks are also found by the end of their path."""

    def __init__(self, folder: Path) -> None:
        self.root = Root(folder)

    def find(self, reference: Reference) -> Path | None:
        """The file, `None` if there is none. Raises `UnsafePath` and `Unavailable`."""
        path = reference.path
        if reference.any_ending:
            path = _only(self._suffix_index.find_clip(path), path, clip_name(path))
        elif not self.root.find(path) and reference.source.benchmark:
            path = _only(self._suffix_index.find(path), path)
        return self.root.folder / path if self.root.find(path) else None

    @cached_property
    def _suffix_index(self) -> PathSuffixIndex:
        """Built when the first clip is looked for by its name, or a file is not at its path."""
        folder = self.root.folder
        files = (each for each in folder.rglob("*") if each.is_file()) if folder.is_dir() else ()
        return PathSuffixIndex(each.relative_to(folder).as_posix() for each in files)


def _only(found: list[str], wanted: str, said: str = "") -> str:
    """The found path if there is exactly one, `wanted` if there is none.

    Raises `Unavailable` for several, in which what was `said` to be wanted is named.
    """
    if len(found) > 1:
        names = ", ".join(found[:3])
        raise Unavailable(
            "unreadable", f"{len(found)} files match {said or wanted}: {names}; leave one of them there"
        )
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
    """Members of one or more zip archives.

    Archives differ in their top-level folders, so the file of a row is the member whose path ends in the
    row's path. Among several, the member that shares the longest end with the published path is chosen. If no
    member ends in the row's path, a benchmark's file is the member that shares the longest end with it.
    """

    def __init__(self, archives: Iterable[ZipArchive], limits: Limits) -> None:
        self._limits = limits
        self._archives = [archive.file.name for archive in archives]
        self._by_name: dict[str, list[tuple[list[str], ZipMember]]] = {}
        self._clips: dict[str, list[tuple[list[str], ZipMember]]] = {}  # by name without the ending
        self._unsafe: dict[str, str] = {}  # by file name: why the member is refused
        for member in (member for archive in archives for member in archive.members):
            try:
                parts = relative(member.path).split("/")
            except UnsafePath as error:
                self._unsafe.setdefault(member.path.rpartition("/")[2], f"{member.name}: {error}")
            else:
                self._by_name.setdefault(parts[-1], []).append((parts, member))
                if (name := clip_name(parts[-1])) != parts[-1]:
                    self._clips.setdefault(name, []).append(([*parts[:-1], name], member))

    def find(self, reference: Reference) -> Origin:
        wanted = reference.path.split("/")
        named = self._by_name.get(wanted[-1], ())
        if reference.any_ending:
            named = self._clips.get(clip_name(wanted[-1]), ())
            wanted = [*wanted[:-1], clip_name(wanted[-1])]
        ending = [(p, m) for p, m in named if p[-len(wanted) :] == wanted]
        if not ending and reference.source.benchmark:
            ending = list(named)
        if not ending:
            name = reference.path.rpartition("/")[2]
            if name in self._unsafe:
                raise Unavailable("unsafe", self._unsafe[name])
            raise Unavailable("missing", f"not in {' '.join(self._archives)}")
        media = clip_name(reference.media) if reference.any_ending else reference.media
        shared = [shared_suffix_length("/".join(parts), media) for parts, _ in ending]
        best = [member for (_, member), length in zip(ending, shared, strict=True) if length == max(shared)]
        if len({(member.size, member.crc32) for member in best}) > 1:
            names = ", ".join(member.path for member in best[:3])
            raise Unavailable("unreadable", f"{len(best)} different members match: {names}")
        best[0].check(self._limits)
        return best[0]
