"""Measurements that decide a claim and that only a trained run can make: made here once, kept in
`data/measurements.csv`, read by the ledger.

python tools/measurements.py [NAME …]      # all of them, or those named; needs the runs that each names, trained in
                                           this workspace

A row is one number: its mean over seeds, the 95 % interval over studies of that mean (paired where it is a difference),
and what made it.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parent.parent
TABLE = ROOT / "data" / "measurements.csv"
sys.path.insert(0, str(ROOT))

from rrg_lib.book.figures import trained_runs as looks  # noqa: E402
from rrg_lib.data.study import DRAWN_FINDINGS  # noqa: E402
from rrg_lib.evaluation.resampling import bootstrap_weights, ratio  # noqa: E402
from rrg_lib.experiments.disease_classification import (  # noqa: E402
    NORMAL,
    LabelledStudies,
    class_scores,
    rarest_first,
    single_labels,
    train_classifier,
)
from rrg_lib.experiments.image_report_retrieval import encode_studies, neutral_image  # noqa: E402
from rrg_lib.experiments.presets import experiment  # noqa: E402
from rrg_lib.experiments.run import Run  # noqa: E402
from rrg_lib.models.disease_classifier import ClassifierConfig  # noqa: E402
from rrg_lib.replication.claim_measurements import PROFILE, Measurement  # noqa: E402
from rrg_lib.replication.verdicts import DRAWN as DATASET  # noqa: E402
from rrg_lib.runtime.workspace import written_whole  # noqa: E402

#: Seeds of the small classifiers.
CLASSIFIERS = range(10)
#: A class is rare that fewer training studies have than this.
RARE = 60


MAKERS: dict[str, Callable[[], Iterator[Measurement]]] = {}


def maker(make: Callable[[], Iterator[Measurement]]) -> Callable[[], Iterator[Measurement]]:
    """Registers what makes rows, under its function's name."""
    MAKERS[make.__name__] = make
    return make


def trained(preset: str) -> list[Run]:
    """The runs of a preset that are trained to their end here, by seed."""
    wanted = [experiment(f"{DATASET}/{preset}", PROFILE, seed=seed) for seed in (7580, 7581, 7582)]
    found = [Run.of(what, progress=False, trained=True) for what in wanted if looks.finished(what)]
    if not found:
        raise SystemExit(
            f"{DATASET}/{preset} is not trained here in the {PROFILE} profile; run: rrg train {DATASET}/{preset} "
            f"--profile {PROFILE}"
        )
    return found


def over_studies(name: str, values: Sequence[np.ndarray], of: str, made_by: str) -> Measurement:
    """The mean over seeds of a number that each study has, (n,) a seed, NaN where it has none; bootstrap interval over
    studies."""
    of_study = np.nanmean(np.stack(values), axis=0)
    known = of_study[~np.isnan(of_study)]
    drawn = bootstrap_weights(len(known)) @ known / len(known)
    return Measurement(
        name,
        float(known.mean()),
        *(float(q) for q in np.quantile(drawn, [0.025, 0.975])),
        len(values),
        len(known),
        of,
        made_by,
    )


@maker
def xpronet_meetings() -> Iterator[Measurement]:
    """How many of the ten prototypes that a word and a patch of its study ask first are the same, beyond chance, and
    beyond the patches of another study with the same labels (chapter 05, section 9)."""
    tables = [looks.meetings_of_studies(run) for run in trained("xpronet")]
    of = f"{DATASET}, {PROFILE}, xpronet, every fourth test study, reference reports, labels by the classifier"
    made_by = "tools/measurements.py xpronet_meetings"
    yield over_studies("shared prototypes of ten", [t["mean"].to_numpy() for t in tables], of, made_by)
    yield over_studies("shared prototypes of ten, by chance", [t["chance"].to_numpy() for t in tables], of, made_by)
    yield over_studies(
        "shared prototypes of ten, over chance", [(t["mean"] - t["chance"]).to_numpy() for t in tables], of, made_by
    )
    yield over_studies(
        "shared prototypes of ten, over another study's patches",
        [(t["mean"] - t["other"]).to_numpy() for t in tables],
        of,
        made_by,
    )


@maker
def xpronet_clusters() -> Iterator[Measurement]:
    """How often the nearest other prototype (cosine, as the queries see them) is one of the same class, before and
    after training."""
    runs = trained("xpronet")
    for when in ("before training", "trained"):
        same = []
        for run in runs:
            vectors = looks.prototypes(run)[when]
            unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
            alike = unit @ unit.T - 2 * np.eye(len(unit))
            classes = np.arange(len(unit)) // run.experiment.memory.prototypes
            same.append((classes[alike.argmax(axis=1)] == classes).astype(float))
        n = run.experiment.memory.prototypes
        of = f"{DATASET}, {PROFILE}, xpronet, {len(unit)} prototypes; by chance {(n - 1) / (len(unit) - 1):.3f}"
        yield over_studies(
            f"nearest prototype of the same class, {when}", same, of, "tools/measurements.py xpronet_clusters"
        )


@maker
def focal_loss_and_rare_classes() -> Iterator[Measurement]:
    """Mean F1 of the rare classes with focal loss beside cross-entropy less that without, the classifier of chapter 07
    on features of a trained CMN."""
    run = trained("cmn")[0]
    dataset, generator = run.dataset, run.generator().requires_grad_(False)
    splits = {name: dataset.split_indices(name) for name in ("train", "val", "test")}
    batches = {name: run.batches(name) for name in splits}
    neutral = neutral_image(generator, batches["train"])
    vectors = {name: encode_studies(generator, batches[name], neutral) for name in splits}
    targets = single_labels(dataset.drawn_findings, rarest_first(dataset.drawn_findings[splits["train"]]))
    names = (NORMAL, *DRAWN_FINDINGS)
    data = [LabelledStudies(vectors[name].image, vectors[name].report, targets[splits[name]]) for name in splits]
    counts = np.bincount(targets[splits["train"]], minlength=len(names))
    rare = [c for c in range(1, len(names)) if counts[c] < RARE and (data[2].targets == c).any()]

    def drawn(loss: str, classes: Sequence[int], weights: np.ndarray) -> np.ndarray:
        found = []
        for seed in CLASSIFIERS:
            said = predictions[loss, seed]
            hits, made, support = np.split(
                weights @ class_scores(said, data[2].targets, names).additive["macro F1"].terms, 3, axis=-1
            )
            found.append(ratio(2 * hits, made + support)[..., classes].mean(axis=-1))
        return np.mean(found, axis=0)

    predictions = {
        (loss, seed): train_classifier(*data[:2], len(names), ClassifierConfig(loss=loss), seed=seed).predict(data[2])
        for loss in ("ce+focal", "ce")
        for seed in CLASSIFIERS
    }
    n = len(data[2].targets)
    weights, once, every = bootstrap_weights(n), np.ones((1, n)), list(range(len(names)))
    by, where = (
        "tools/measurements.py focal_loss_and_rare_classes",
        f"{DATASET}, {PROFILE}, classifier on features of cmn, image and report",
    )
    behind = [drawn("ce+focal", rare, w) - drawn("ce+focal", every, w) for w in (once, weights)]
    ends = (float(q) for q in np.quantile(behind[1], [0.025, 0.975]))
    yield Measurement(
        "F1 with focal loss, rare classes less all", float(behind[0][0]), *ends, len(CLASSIFIERS), n, where, by
    )
    groups = {"rare classes": rare, "all classes": every}
    for group, classes in groups.items():
        gain, spread = (drawn("ce+focal", classes, w) - drawn("ce", classes, w) for w in (once, weights))
        which = ", ".join(names[c] for c in classes) if group == "rare classes" else "every class"
        of = f"{where}; {which}" + (f" (fewer than {RARE} training studies)" if group == "rare classes" else "")
        ends = (float(q) for q in np.quantile(spread, [0.025, 0.975]))
        yield Measurement(
            f"F1 with focal loss less without, {group}", float(gain[0]), *ends, len(CLASSIFIERS), n, of, by
        )


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", choices=[*MAKERS, []], metavar="NAME")
    names = parser.parse_args(argv).names or list(MAKERS)
    kept: dict[str, dict[str, str]] = {}
    if TABLE.exists():
        with open(TABLE, encoding="utf-8", newline="") as file:
            kept = {row["name"]: row for row in csv.DictReader(file)}
    for name in names:
        for found in MAKERS[name]():
            numbers = {part: f"{getattr(found, part):.4f}" for part in ("value", "low", "high")}
            kept[found.name] = {**found._asdict(), **numbers}
            print(f"{found.name}: {found.value:.4f} [{found.low:.4f}, {found.high:.4f}]  {found.of}")
    with written_whole(TABLE) as temporary, open(temporary, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, Measurement._fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows(kept.values())
    return 0


if __name__ == "__main__":
    sys.exit(main())
