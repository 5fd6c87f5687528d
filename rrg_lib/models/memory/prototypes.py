"""Class prototypes from the training studies, before training (XProNet Eq. 4-7), for a memory that then learns them
further.

    pooled image features of the views as they are  ─┐
    pooled image features of the views mirrored     ─┼─▶ [image ; report] ─▶ k-means in each class ─▶ N_p means a class
    pooled report features                          ─┘

Paper: ResNet-101 and CheXbert features, one k-means over originals and mirror images together · release: the file
alone; its notebooks imply N_p / 2 clusters of each · ours: the run's own extractor, reports by TF-IDF and SVD (nothing
to download) or by a BERT when one is given, both recipes. So that neither part decides the clusters alone, each is
centred and divided by one number, its root mean square. Deterministic: a function of the studies and the seed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer
from threadpoolctl import threadpool_limits

from rrg_lib.data.study import OBSERVATIONS
from rrg_lib.errors import CheckpointError, ConfigurationError
from rrg_lib.runtime.checkpoint import load_tensors, save_tensors
from rrg_lib.runtime.hashing import content_hash
from rrg_lib.runtime.workspace import workspace, written_whole

if TYPE_CHECKING:
    from rrg_lib.models.batches import TrainingStudies

Recipe = Literal["released", "kmeans"]
FORMAT = "class prototypes 1"
#: The report features that need no download.
TFIDF = "tfidf"
#: Points of one class that k-means looks at; of more, so many are drawn. MIMIC-CXR has 230,000 studies without a
#: finding.
MOST_POINTS = 20_000
#: Prototypes that are copies of others, for want of studies, differ by so much of the points' root mean square: enough
#: to part in training.
_JITTER = 0.01


@dataclass(frozen=True, eq=False)
class Prototypes:
    """`vectors` (C, N_p, D) float32, the number of training studies of each class in `members`, and how they were made
    in `description`."""

    vectors: np.ndarray
    members: tuple[int, ...]
    description: dict[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The classes: the observations when there are as many."""
        count = len(self.vectors)
        return OBSERVATIONS if count == len(OBSERVATIONS) else tuple(f"class {c}" for c in range(count))

    def save(self, path: Path) -> None:
        """A safetensors file with the description in its metadata."""
        meta = {"format": FORMAT, "members": list(self.members), "description": self.description}
        save_tensors(Path(path), {"prototypes": torch.from_numpy(self.vectors)}, meta)

    @classmethod
    def load(cls, path: Path) -> Prototypes:
        """What `save` wrote. Raises `CheckpointError` for any other file."""
        tensors, meta = load_tensors(Path(path))
        if meta.get("format") != FORMAT:
            raise CheckpointError(
                f"{path} holds no {FORMAT} (it says {meta.get('format', 'nothing')!r}); training makes one in the "
                f"run's folder"
            )
        return cls(tensors["prototypes"].numpy(), tuple(meta["members"]), meta["description"])


def class_prototypes(
    training: TrainingStudies,
    number: int,
    *,
    text_dim: int = 768,
    recipe: Recipe = "released",
    text_encoder: str = TFIDF,
) -> Prototypes:
    """`number` prototypes (N_p) for each class of `training.labels`, D = d_vf + `text_dim` numbers each (XProNet Eq.
    4-7).

    A class with fewer different points than prototypes gets those points, and copies of them with a little noise. A
    class without any study gets the prototypes of all studies together: it will hardly be asked, and then by a mistaken
    classifier.

    `recipe`: "kmeans" clusters the originals and the mirror images together (paper), "released" gives each half of the
    prototypes. `text_encoder`: "tfidf", or a BERT (see `rrg_lib.models.memory.bert_features`), whose width `text_dim`
    must be.
    """
    images = [pooled_images(training, flipped=flipped) for flipped in (False, True)]  # 2 × (n, d_vf)
    center, size = standard(np.concatenate(images))
    images = [(image - center) / size for image in images]
    if text_encoder == TFIDF:
        text = report_features(training.reports, text_dim, seed=training.seed)  # (n, text_dim)
    else:
        from rrg_lib.models.memory.bert_features import bert_features  # imports transformers, an extra

        text = bert_features(training.reports, text_encoder, text_dim)  # (n, text_dim)
    center, size = standard(text)
    text = (text - center) / size
    rng = np.random.default_rng(training.seed)
    shares = [(number + 1) // 2, number // 2]

    def prototypes_of(rows: np.ndarray) -> np.ndarray:
        """(N_p, D) of the studies `rows`."""
        rows = rng.choice(rows, MOST_POINTS // 2, replace=False) if len(rows) > MOST_POINTS // 2 else rows
        views = [np.concatenate([image[rows], text[rows]], axis=1) for image in images]
        if recipe == "kmeans":
            return cluster_means(np.concatenate(views), number, seed=training.seed)
        return np.concatenate(
            [
                cluster_means(points, share, seed=training.seed)
                for points, share in zip(views, shares, strict=True)
                if share
            ]
        )

    present = training.labels > 0.5  # (n, C): XProNet Eq. 4
    everyone = np.arange(len(training))
    of_class = [rows if len(rows) else everyone for rows in map(np.flatnonzero, present.T)]
    description = {
        "recipe": recipe,
        "text": text_encoder,
        "image_dim": images[0].shape[1],
        "text_dim": text_dim,
        "seed": training.seed,
    }
    if training.extractor is not None:
        description["extractor"] = training.extractor.hash
    with threadpool_limits(1):  # sums over several threads would come out differently each time
        vectors = np.stack([prototypes_of(rows) for rows in of_class]).astype(np.float32)
    return Prototypes(vectors, tuple(present.sum(axis=0).tolist()), description)


def cluster_means(points: np.ndarray, number: int, *, seed: int = 0) -> np.ndarray:
    """(n, D) points -> the means of `number` clusters, (number, D); the points and noisy copies of them when they are
    too few.

    Raises `ConfigurationError` when there is no point.
    """
    if not len(points):
        raise ConfigurationError("there is no training study to make prototypes of")
    different = np.unique(points, axis=0)
    if len(different) > number:
        return KMeans(number, n_init=1, random_state=seed).fit(points).cluster_centers_
    copies = np.resize(different, (number, points.shape[1]))
    noise = np.random.default_rng(seed).normal(0, _JITTER * np.sqrt(np.mean(points**2)), copies.shape)
    noise[: len(different)] = 0
    return copies + noise


def report_features(reports: list[str], dim: int, *, seed: int = 0) -> np.ndarray:
    """(n, `dim`) float32: TF-IDF of each cleaned report's words, reduced by a truncated SVD; zeros at the end when the
    words are fewer than `dim`."""
    counts = TfidfVectorizer(token_pattern=r"\S+", sublinear_tf=True).fit_transform(reports)  # (n, words)
    features = np.zeros((len(reports), dim), np.float32)
    if (rank := min(dim, *(size - 1 for size in counts.shape))) > 0:
        with threadpool_limits(1):
            features[:, :rank] = TruncatedSVD(rank, random_state=seed).fit_transform(counts)
    return features


def standard(features: np.ndarray) -> tuple[np.ndarray, float]:
    """What to subtract (D,) and what to divide by, so that the features (n, D) have mean 0 and root mean square 1 over
    all numbers."""
    center = features.mean(axis=0)
    return center, float(np.sqrt(np.mean((features - center) ** 2))) or 1.0


def pooled_images(training: TrainingStudies, *, flipped: bool) -> np.ndarray:
    """(n, d_vf) `TrainingStudies.pooled`; that of mirrored views, which have to be looked at, is kept for a frozen
    extractor."""
    if not flipped or training.extractor is None or not training.extractor.frozen:
        return training.pooled(flipped=flipped)
    extractor, dataset = training.extractor, training.batches.dataset
    path = (
        workspace()
        / "features"
        / f"mirrored-{extractor.name}-{extractor.hash}-{dataset.hash}-{content_hash(training.indices)[:12]}.npy"
    )
    if not path.exists():
        with written_whole(path) as temporary, open(temporary, "wb") as file:
            np.save(file, training.pooled(flipped=True))
    return np.load(path)
