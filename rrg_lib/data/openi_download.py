"""The Indiana University collection from Open-i, with its licence shown and accepted first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rrg_lib.data.download import PATIENT, Fetching, fetch, unpack
from rrg_lib.data.iu_xray import SOURCE
from rrg_lib.data.layouts.openi import PNG
from rrg_lib.errors import ConfigurationError

ADDRESS = "https://openi.nlm.nih.gov/imgs/collections"
LICENCE = f"""{SOURCE}
7,470 radiographs and 3,955 reports of the Indiana University hospitals, given out by Open-i,
a service of the U.S. National Library of Medicine.
Licence: Creative Commons Attribution-NonCommercial-NoDerivatives 4.0, https://creativecommons.org/licenses/by-nc-nd/4.0/
You may use them with attribution, not for commercial purposes, and may not give out changed versions of them."""


@dataclass(frozen=True)
class Archive:
    """One archive and the folder it becomes. `sha256` None: not known to us; the first one fetched is recorded and
    later ones must equal it."""

    name: str
    folder: str
    sha256: str | None = None


ARCHIVES = (Archive("NLMCXR_reports.tgz", "NLMCXR_reports"), Archive("NLMCXR_png.tgz", PNG))


def download_openi(
    root: Path,
    accept: Callable[[str], bool],
    *,
    address: str = ADDRESS,
    how: Fetching = PATIENT,
    progress: bool = True,
) -> Path:
    """Fetches and unpacks the PNG images and the reports to `root`, as `iu_xray` reads them. What is there already is
    kept; interrupted, it goes on.

    `accept` is shown the licence and says whether the user agrees; asked once a folder.

    Raises `ConfigurationError` for a licence that is not accepted, `DownloadError` and `StorageError` as `fetch` and
    `unpack` do.
    """
    agreed = root / "LICENCE-ACCEPTED.txt"
    if not agreed.is_file():
        if not accept(LICENCE):
            raise ConfigurationError(
                "the licence of the collection was not accepted, so nothing was fetched. Accept it with "
                "--accept-licence"
            )
        root.mkdir(parents=True, exist_ok=True)
        agreed.write_text(LICENCE + "\n", encoding="utf-8")
    for archive in ARCHIVES:
        if not (root / archive.folder).is_dir():
            fetch(
                f"{address.rstrip('/')}/{archive.name}",
                root / archive.name,
                sha256=archive.sha256,
                how=how,
                progress=progress,
            )
            unpack(root / archive.name, root / archive.folder)
    _flatten(root / PNG)
    return root


def _flatten(images: Path) -> None:
    """Some archives of the images have a folder around them: `NLMCXR_png/NLMCXR_png/CXR….png`."""
    inner = images / PNG
    if inner.is_dir():
        for path in inner.iterdir():
            path.rename(images / path.name)
        inner.rmdir()
