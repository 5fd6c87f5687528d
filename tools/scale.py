"""How preparing grows: speed, cores and memory for so many generated studies, what a kill -9 costs, and the hours that
MIMIC-CXR would take.

python tools/scale.py grow 2000 6000      studies/s, cores, peak memory of the process and of its workers, each in a
                                          folder that is deleted again
python tools/scale.py kill 600 --times 3  killed at random moments until it is done: is the result that of an
                                          undisturbed run?
python tools/scale.py films               full-size JPEG, PNG and DICOM films through the reader, and from that the
                                          hours of 377,110 images
"""

from __future__ import annotations

import argparse
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np
from PIL import Image

#: MIMIC-CXR-JPG 2.x: images in its split table; and the size of a common film in it.
MIMIC_IMAGES, MIMIC_FILM = 377_110, (3056, 2544)
#: Studies a shard: as by default, and where a run is killed, so that some are done by then.
SHARD, SMALL_SHARD = 128, 16


def prepare(count: int, folder: Path, workers: int, shard: int) -> None:
    from rrg_lib.data.prepare import prepare

    prepare("phantom", count=count, out=folder, workers=workers, shard_size=shard, progress=False)


def start(count: int, folder: Path, workers: int, shard: int = SHARD) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, __file__, "one", str(count), str(folder), "--workers", str(workers), "--shard", str(shard)]
    )


def peaks(process: subprocess.Popen) -> dict[str, float]:
    """MiB of resident memory, the most that the process had, and the most that any of its children had; blocks until it
    ends."""
    most = {"parent": 0.0, "worker": 0.0}
    ended = threading.Event()
    threading.Thread(target=lambda: (process.wait(), ended.set()), daemon=True).start()
    while not ended.wait(0.2):
        most["parent"] = max(most["parent"], resident(process.pid))
        for child in children(process.pid):
            most["worker"] = max(most["worker"], resident(child))
    return most


def children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def resident(pid: int) -> float:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM")), 0.0)
    except OSError:
        return 0.0


def grow(counts: list[int], workers: int) -> None:
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            process = start(count, Path(folder) / "data", workers)
            most = peaks(process)
            seconds, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
            if process.returncode:
                sys.exit(f"preparing {count} studies failed")
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            size = sum(path.stat().st_size for path in Path(folder).rglob("*.arrow"))
            shown = {
                "studies": count,
                "seconds": round(seconds, 1),
                "images/s": round(2 * count / seconds, 1),
                "cores used": round(cpu / seconds, 2),
                "parent MiB": round(most["parent"]),
                "worker MiB": round(most["worker"]),
                "bytes a study": size // count,
            }
            print(json.dumps(shown), flush=True)


def kill(count: int, times: int, workers: int, seed: int) -> None:
    rng = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        start(count, Path(folder) / "whole", workers, SMALL_SHARD).wait()
        seconds = time.perf_counter() - begun
        for n in range(times):
            process = start(count, Path(folder) / "killed", workers, SMALL_SHARD)
            try:
                process.wait(rng.uniform(0.3, 0.8) * seconds)
                print(f"kill {n + 1}: too late, it was done", flush=True)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                time.sleep(1)
                print(
                    f"kill {n + 1}: {len(list((Path(folder) / 'killed').glob('shard-*.arrow')))} shards of "
                    f"{-(-count // SMALL_SHARD)}",
                    flush=True,
                )
        start(count, Path(folder) / "killed", workers, SMALL_SHARD).wait()
        contents = [
            {path.name: path.read_bytes() for path in (Path(folder) / name).iterdir()} for name in ("whole", "killed")
        ]
        from rrg_lib.data.prepared_dataset import PreparedDataset

        ids = PreparedDataset.open(Path(folder) / "killed").ids
        print(json.dumps({"identical": contents[0] == contents[1], "studies": len(ids), "distinct": len(set(ids))}))


def films(number: int = 12) -> None:
    from rrg_lib.data.images import read_radiograph
    from rrg_lib.data.phantom import draw, sample_studies

    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        paths: dict[str, list[Path]] = {"JPEG": [], "PNG": [], "DICOM": []}
        for i, study in enumerate(sample_studies(number)):
            large = np.asarray(
                Image.fromarray(draw(study).views[0]).resize(MIMIC_FILM[::-1], Image.Resampling.BICUBIC), np.int16
            )
            film = np.clip(large + rng.normal(0, 4, large.shape), 0, 255).astype(np.uint8)
            for kind, files in paths.items():
                files.append(Path(folder) / f"{i}.{kind.lower()}")
                if kind == "DICOM":
                    save_dicom(files[-1], film.astype(np.uint16) * 16)
                else:
                    Image.fromarray(film).save(files[-1], **({"quality": 95} if kind == "JPEG" else {}))
        for kind, files in paths.items():
            read_radiograph(files[0])
            spent = []
            for path in files:
                begun = time.process_time()
                read_radiograph(path)
                spent.append(time.process_time() - begun)
            each = float(np.median(spent))
            shown = {
                "film": f"{kind} {MIMIC_FILM[0]} x {MIMIC_FILM[1]}, {os.path.getsize(files[0]) / 2**20:.1f} MiB",
                "CPU ms an image": round(each * 1000, 1),
                "core hours of 377,110": round(each * MIMIC_IMAGES / 3600, 1),
            }
            print(json.dumps(shown), flush=True)


def save_dicom(path: Path, pixels: np.ndarray) -> None:
    """(H, W) uint16 of 12 bits as a plain DICOM file with a window."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = ComputedRadiographyImageStorage, generate_uid()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film = FileDataset(str(path), {}, file_meta=meta, preamble=b"\0" * 128)
    film.SOPClassUID, film.SOPInstanceUID, film.Modality = (
        meta.MediaStorageSOPClassUID,
        meta.MediaStorageSOPInstanceUID,
        "CR",
    )
    film.Rows, film.Columns, film.SamplesPerPixel, film.PhotometricInterpretation = *pixels.shape, 1, "MONOCHROME2"
    film.BitsAllocated, film.BitsStored, film.HighBit, film.PixelRepresentation = 16, 12, 11, 0
    film.WindowCenter, film.WindowWidth, film.PixelData = 2048, 4096, pixels.tobytes()
    film.save_as(path, enforce_file_format=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["grow", "kill", "films", "one"])
    parser.add_argument("values", nargs="*")
    parser.add_argument(
        "--workers",
        type=int,
        default=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
    )
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shard", type=int, default=SHARD)
    given = parser.parse_args()
    if given.what == "grow":
        grow([int(value) for value in given.values], given.workers)
    elif given.what == "kill":
        kill(int(given.values[0]), given.times, given.workers, given.seed)
    elif given.what == "films":
        films()
    else:
        prepare(int(given.values[0]), Path(given.values[1]), given.workers, given.shard)


if __name__ == "__main__":
    main()
