"""Topics of the training reports: what a memory bank may start from (MCSAM: "well initialised", by optimal transport,
without labels).

A topic is a set of weights over words, so that it can be read (its heaviest words) and written in any space of word
vectors (their weighted sum). Three ways to find K of them, all deterministic:

    ot_topics      transport the sentences to K topics that must all receive the same mass (entropic optimal transport,
                   Cuturi 2013), move every topic to the mean of what it received, repeat
    kmeans         the same sentences by k-means, which lets topics be as large or as small as they like
    label_kmeans   k-means among the reports of each of the 14 observations, as XProNet (section 3.2) starts its
                   prototypes; on text alone

Level B (third-party summaries): optimal transport, topics of the reports, no labels. Everything else is ours (C):
sentences as the unit, because a cost that knows only the word would not know which words stand together; every distinct
sentence counting once, because the commonest normal sentences would otherwise be many of the topics; the word vectors;
ε.

The transport is solved by the dozen lines of `sinkhorn`, not by the POT package: that is maintained and MIT-licensed,
but its wheel is 33 MB (183 MB installed) and this is the one of its solvers that is needed. The tests hold it against
an exact linear programme.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from scipy import sparse

from rrg_lib.errors import ConfigurationError, ReportError

if TYPE_CHECKING:
    from rrg_lib.models.batches import TrainingStudies

TopicMethod = Literal["kmeans", "label_kmeans", "ot_topics"]
#: At most so many sentences or reports are clustered, a seeded choice of them: memory grows with their number times the
#: topics.
LARGEST = 20_000
#: Numbers in a word vector in which sentences are compared.
WORD_DIMENSIONS = 128
#: Entropic regularisation, in units of the cost 1 - cosine. Smaller is nearer to a hard assignment and slower.
EPSILON = 0.02
ROUNDS = 15


@dataclass(frozen=True, eq=False)
class Topics:
    """`weights` (K, V + 1) nonnegative, rows sum to 1, column w for token id w (column 0, the end mark, is 0);
    `vectors` (K, m) unit length, the same topics in the space of `word_vectors` (V + 1, m); `mass` (K,), each topic's
    share of what was clustered."""

    weights: np.ndarray
    vectors: np.ndarray
    word_vectors: np.ndarray
    mass: np.ndarray

    def words(self, topic: int, vocabulary: Sequence[str], count: int = 6) -> list[str]:
        """The heaviest words of a topic; `vocabulary[i]` is the word with id i + 1."""
        best = np.argsort(-self.weights[topic], kind="stable")[:count]
        return [vocabulary[i - 1] for i in best if self.weights[topic, i] > 0]


def find_topics(training: TrainingStudies, count: int, method: TopicMethod = "ot_topics", *, seed: int = 0) -> Topics:
    """`count` topics of the training reports. The same studies, count, method and seed give the same topics.

    Raises `ConfigurationError` for an unknown method or no topic, `ReportError` when the training reports hold no
    sentence.
    """
    if count < 1:
        raise ConfigurationError(f"{count} topics were asked for: a memory bank needs at least one")
    size, stop = training.vocabulary.size, training.vocabulary.ids.get(".", 0)
    reports = [np.asarray(training.tokens(i)) for i in training.indices]
    sentences = list(dict.fromkeys(s for ids in reports for s in split_sentences(ids, stop)))
    if not sentences:
        raise ReportError(
            f"the {len(reports)} training reports hold no sentence, so they have no topics; initialise the bank at "
            f"random"
        )
    counts = bags(sentences, size)
    rarity = inverse_frequency(counts)
    words = word_vectors(counts, seed=seed)
    if method == "label_kmeans":
        texts = bags([tuple(ids[(ids > 0) & (ids != stop)]) for ids in reports], size)
        weights, mass = _per_label(_unit_rows(texts, rarity, words), words, np.asarray(training.labels), count, seed)
    else:
        cluster = {"kmeans": _kmeans, "ot_topics": _transport}.get(method)
        if cluster is None:
            raise ConfigurationError(
                f"{method!r} is no way to find topics: it can be kmeans, label_kmeans or ot_topics"
            )
        weights, mass = cluster(_some(_unit_rows(counts, rarity, words), seed), words, count, seed)
    vectors = _unit(weights @ words)
    return Topics(weights / np.maximum(weights.sum(1, keepdims=True), 1e-12), vectors, words, mass / mass.sum())


# --- sentences as vectors ---------------------------------------------------------------------------------------------


def split_sentences(ids: np.ndarray, stop: int) -> list[tuple[int, ...]]:
    """Token ids of a report, end marks and all -> its sentences without the full stops (id `stop`), the empty ones left
    out."""
    inside = ids[ids > 0]
    pieces = np.split(inside, np.flatnonzero(inside == stop))
    return [sentence for piece in pieces if (sentence := tuple(piece[piece != stop].tolist()))]


def bags(texts: Sequence[Sequence[int]], size: int) -> sparse.csr_array:
    """How often each id, 0 to `size`, stands in each text: (n, V + 1)."""
    lengths = [len(text) for text in texts]
    rows, columns = (
        np.repeat(np.arange(len(texts)), lengths),
        np.fromiter((i for text in texts for i in text), int, sum(lengths)),
    )
    return sparse.csr_array((np.ones(len(columns)), (rows, columns)), shape=(len(texts), size + 1))


def inverse_frequency(counts: sparse.csr_array) -> np.ndarray:
    """(V + 1,) log(n / n_w), the weight of a word that n_w of n texts hold: "the" is in nearly all of them and says
    nothing. 0 for an unseen word."""
    n, held = counts.shape[0], np.diff(counts.tocsc().indptr)
    return np.where(held > 0, np.log((n + 1) / np.maximum(held, 1)), 0.0)


def word_vectors(counts: sparse.csr_array, dimensions: int = WORD_DIMENSIONS, *, seed: int = 0) -> np.ndarray:
    """Vectors (V + 1, m) of the words from the sentences (n, V + 1) they share: positive pointwise mutual information,
    then a truncated singular value decomposition, U √S (Levy and Goldberg 2014). m is `dimensions`, or fewer for a
    small vocabulary; an unseen word is 0."""
    present = counts.astype(bool).astype(float)
    together = (present.T @ present).toarray()
    alone = np.diag(together)
    with np.errstate(divide="ignore", invalid="ignore"):
        information = np.log(together * counts.shape[0] / np.outer(alone, alone))
    positive = np.where(together > 0, np.maximum(information, 0), 0.0)
    from sklearn.utils.extmath import randomized_svd  # takes a second: only where topics are made

    u, s, _ = randomized_svd(positive, min(dimensions, len(positive)), random_state=seed)
    return u * np.sqrt(s)


def _unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), 1e-12)


def _unit_rows(counts: sparse.csr_array, rarity: np.ndarray, words: np.ndarray) -> sparse.csr_array:
    """Word weights of each text, scaled so that their weighted sum of `words` has unit length: a topic's words and its
    vector then stay one thing."""
    weighted = sparse.csr_array(counts * rarity)
    lengths = np.linalg.norm(weighted @ words, axis=1)
    return sparse.csr_array(sparse.diags_array(1 / np.maximum(lengths, 1e-12)) @ weighted)


def _some(texts: sparse.csr_array, seed: int) -> sparse.csr_array:
    if texts.shape[0] <= LARGEST:
        return texts
    return texts[np.sort(np.random.default_rng(seed).choice(texts.shape[0], LARGEST, replace=False))]


# --- three ways to cluster: texts (n, V + 1) of unit length in `words` -> word weights (K, V + 1), mass (K,) ----------


def _kmeans(texts: sparse.csr_array, words: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Means of k-means clusters. With no more distinct texts than clusters each is a mean, again from the first when
    they run out."""
    n = texts.shape[0]
    if n <= count:
        chosen = np.arange(count) % n
        return texts[chosen].toarray(), np.ones(count)
    from sklearn.cluster import KMeans  # takes a second: only where topics are made

    assigned = KMeans(count, n_init=1, random_state=seed).fit_predict(texts @ words)
    members = sparse.csr_array((np.ones(n), (assigned, np.arange(n))), shape=(count, n))
    mass = members.sum(1)
    return (members @ texts).toarray() / np.maximum(mass, 1)[:, None], mass


def _per_label(
    texts: sparse.csr_array, words: np.ndarray, labels: np.ndarray, count: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """k-means within each label that a study has, an equal share of the clusters each, the first labels one more when
    it doesn't divide."""
    if labels.shape[0] != texts.shape[0]:
        raise ConfigurationError(
            f"there are labels of {labels.shape[0]} studies and {texts.shape[0]} training reports: they must be the "
            f"same studies"
        )
    present = np.flatnonzero(labels.any(0))
    if not len(present):
        raise ConfigurationError("label_kmeans needs labels, and no training study has any; use kmeans or ot_topics")
    shares = [len(part) for part in np.array_split(np.arange(count), len(present))]
    classes = [
        _kmeans(_some(texts[np.flatnonzero(labels[:, c])], seed), words, share, seed)
        for c, share in zip(present, shares, strict=True)
        if share
    ]
    return np.concatenate([weights for weights, _ in classes]), np.concatenate([mass for _, mass in classes])


def _transport(texts: sparse.csr_array, words: np.ndarray, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Alternate: the plan that carries the texts, uniform, to the topics, uniform, at cost 1 - cosine; then each topic
    the mean of what came to it (free-support barycentre, Cuturi and Doucet 2014). Begins at the texts that k-means++
    picks, farthest from those already picked."""
    points = texts @ words  # (n, m), unit length
    n = len(points)
    topics = points[_spread(points, count, np.random.default_rng(seed))]
    for _ in range(ROUNDS):
        plan = sinkhorn(1 - points @ topics.T, np.full(n, 1 / n), np.full(count, 1 / count), EPSILON, tolerance=1e-3)
        topics = _unit(plan.T @ points)
    return (texts.T @ plan).T, plan.sum(0)


def _spread(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """k-means++ (Arthur and Vassilvitskii 2007): each next point by its squared distance to the nearest one picked.
    Repeats when there are too few."""
    picked = [int(rng.integers(len(points)))]
    nearest = np.full(len(points), np.inf)
    for _ in range(count - 1):
        nearest = np.minimum(nearest, np.maximum(2 - 2 * points @ points[picked[-1]], 0))
        total = nearest.sum()
        picked.append(int(rng.choice(len(points), p=nearest / total)) if total > 1e-9 else len(picked) % len(points))
    return np.array(picked)


def sinkhorn(
    cost: np.ndarray,
    source: np.ndarray,
    target: np.ndarray,
    epsilon: float,
    *,
    tolerance: float = 1e-6,
    iterations: int = 2000,
) -> np.ndarray:
    """The plan (n, m) that carries `source` (n,) to `target` (m,) at the least <plan, cost> + ε <plan, log plan>
    (Cuturi 2013, algorithm 1).

    The kernel exp(-cost/ε) is scaled row by row and column by column until the column sums are within `tolerance`
    (total variation) of `target`, or `iterations` are spent; the rows are exact in any case. Each row's least cost is
    taken off first, which changes no plan and keeps every row of the kernel away from 0.

    Raises `ConfigurationError` for shapes that don't fit, marginals of different totals, or an ε so small that the
    kernel would underflow.
    """
    if cost.shape != (len(source), len(target)) or not np.isclose(source.sum(), target.sum()):
        raise ConfigurationError(
            f"a cost of shape {cost.shape} can't carry {len(source)} masses, {source.sum():.4g} together, to "
            f"{len(target)}, {target.sum():.4g} together"
        )
    excess = cost - cost.min(1, keepdims=True)
    if not epsilon > 0 or excess.max() / epsilon > 650:
        raise ConfigurationError(
            f"epsilon is {epsilon}: it must be positive and at least {excess.max() / 650:.3g} for costs that differ by "
            f"that much"
        )
    kernel = np.exp(excess / -epsilon)
    columns = np.ones(len(target))
    for _ in range(iterations):
        rows = source / (kernel @ columns)
        sums = columns * (rows @ kernel)
        if np.abs(sums - target).sum() / 2 <= tolerance:
            break
        columns = columns * target / sums
    return (source / (kernel @ columns))[:, None] * kernel * columns
