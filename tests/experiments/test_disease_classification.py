"""Training and scoring the disease classifier: what it may look at, what chooses it, and scores that equal
scikit-learn's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, classification_report
from toy import CONFIG, D_VF, ToyDataset

from rrg_lib.errors import ConfigurationError
from rrg_lib.experiments.disease_classification import (
    METRICS,
    NORMAL,
    ClassifierTraining,
    LabelledStudies,
    SeedScores,
    class_scores,
    classify,
    constant_answer,
    difference,
    rarest_first,
    score_table,
    single_labels,
    train_classifier,
)
from rrg_lib.experiments.image_report_retrieval import encode_studies, neutral_image
from rrg_lib.models.batches import StudyBatches
from rrg_lib.models.disease_classifier import ClassifierConfig, classification_loss
from rrg_lib.models.generator import ReportGenerator

# --- labels -----------------------------------------------------------------------------------------------------------


def test_a_study_counts_as_its_rarest_finding_and_as_normal_without_any():
    training = np.array([[1, 1, 0], [1, 0, 1], [1, 1, 0], [1, 0, 0]])
    priority = rarest_first(training)
    assert priority.tolist() == [2, 1, 0]
    assert single_labels(np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 1], [0, 1, 1]]), priority).tolist() == [
        0,
        1,
        2,
        3,
        3,
    ]
    with pytest.raises(ConfigurationError, match=r"each of the 3 labels once, not \[0, 0, 1\]"):
        single_labels(training, [0, 0, 1])


# --- training ---------------------------------------------------------------------------------------------------------

QUICK = ClassifierTraining(epochs=12)


def studies(n: int, seed: int, labels: str = "single") -> LabelledStudies:
    """The report tells the class; the image is noise."""
    rng = np.random.default_rng(seed)
    targets = rng.choice(3, n, p=(0.6, 0.3, 0.1))
    report = 3 * np.eye(3)[targets] + rng.normal(0, 0.3, (n, 3))
    return LabelledStudies(
        rng.normal(size=(n, 5)), report, targets if labels == "single" else np.eye(3, dtype=int)[targets]
    )


TRAIN, VAL, TEST = (studies(n, seed) for seed, n in enumerate((300, 100, 200)))
NAMES = (NORMAL, "Opacity", "Nodule")


def test_the_report_has_the_answer_and_an_image_of_noise_has_not():
    found = {
        i: classify(TRAIN, VAL, TEST, NAMES, ClassifierConfig(inputs=i), seeds=(0,), training=QUICK)
        for i in ("image", "report", "both")
    }
    assert found["report"].mean("macro F1") > 0.95 and found["both"].mean("macro F1") > 0.95
    assert found["image"].mean("macro F1") < 0.5


def test_multi_labels_are_learnt_and_their_thresholds_come_from_the_validation_studies():
    parts = [studies(n, seed, "multi") for seed, n in enumerate((300, 100, 200))]
    config = ClassifierConfig(labels="multi", inputs="report")
    trained = train_classifier(*parts[:2], 3, config, training=QUICK)
    assert class_scores(trained.predict(parts[2]), parts[2].targets, NAMES).scores["macro F1"] > 0.95
    never = replace(parts[1], targets=np.zeros_like(parts[1].targets))
    assert train_classifier(parts[0], never, 3, config, training=QUICK).predict(never).sum() == 0


def test_the_same_seed_gives_the_same_classifier_and_leaves_the_global_randomness_alone():
    state = torch.random.get_rng_state()
    a, b, c = (train_classifier(TRAIN, VAL, 3, seed=seed, training=QUICK) for seed in (1, 1, 2))
    assert torch.equal(state, torch.random.get_rng_state())
    same, other = (
        [torch.equal(x, y) for x, y in zip(a.model.parameters(), m.model.parameters(), strict=True)] for m in (b, c)
    )
    assert all(same) and not any(other)
    assert a.history == b.history


def test_the_epoch_with_the_least_validation_loss_is_kept():
    trained = train_classifier(
        TRAIN, VAL, 3, ClassifierConfig(inputs="image"), training=ClassifierTraining(epochs=25, lr=1e-2)
    )
    losses = [row["validation_loss"] for row in trained.history]
    assert trained.best_epoch == int(np.argmin(losses)) < 24
    image, report, targets = VAL.tensors()
    with torch.no_grad():
        assert classification_loss(trained.model(image, report), targets, trained.model.config).item() == pytest.approx(
            min(losses)
        )


def test_the_unit_of_a_feature_does_not_matter():
    """Features are standardised by the training studies before they are learnt from and before they are judged."""

    def rescaled(part: LabelledStudies) -> LabelledStudies:
        return replace(part, image=100 * part.image - 7, report=part.report / 50 + 3)

    plain = train_classifier(TRAIN, VAL, 3, training=QUICK)
    other = train_classifier(rescaled(TRAIN), rescaled(VAL), 3, training=QUICK)
    assert [row["train_loss"] for row in other.history] == pytest.approx(
        [row["train_loss"] for row in plain.history], rel=1e-2
    )
    assert (other.predict(rescaled(TEST)) == plain.predict(TEST)).mean() > 0.99


def test_predicting_does_not_look_at_the_targets():
    trained = train_classifier(TRAIN, VAL, 3, training=QUICK)
    wrong = replace(TEST, targets=np.zeros_like(TEST.targets))
    np.testing.assert_array_equal(trained.predict(TEST), trained.predict(wrong))


def test_a_generators_features_feed_it():
    """End to end on toy studies: a report's features tell which words it has."""
    data = ToyDataset(120)
    torch.manual_seed(0)
    model = ReportGenerator(CONFIG)
    split = [StudyBatches(data, part, data.patches) for part in (range(80), range(80, 100), range(100, 120))]
    neutral = neutral_image(model, split[0])
    parts = []
    for batches in split:
        encoded = encode_studies(model, batches, neutral)
        shown = np.zeros((len(batches), D_VF), dtype=int)
        for row, i in enumerate(batches.indices):
            shown[row, np.array(data.tokens(i)[1:3]) - 1] = 1
        parts.append(LabelledStudies(encoded.image, encoded.report, shown))
    config = ClassifierConfig(inputs="report", labels="multi", loss="ce")
    found = classify(
        *parts, [f"thing {i}" for i in range(D_VF)], config, seeds=(0,), training=ClassifierTraining(epochs=60, lr=5e-3)
    )
    assert found.mean("weighted F1") > 0.9


def test_features_of_other_studies_than_the_targets_are_refused():
    with pytest.raises(ConfigurationError, match="not of 3, 3 and 2"):
        LabelledStudies(np.zeros((3, 1)), np.zeros((3, 1)), np.zeros(2))


# --- scores -----------------------------------------------------------------------------------------------------------

TRUTH = np.array([0, 0, 0, 0, 1, 1, 2, 0])
SAID = np.array([0, 0, 0, 1, 1, 0, 0, 0])


def test_scores_are_scikit_learns():
    found = class_scores(SAID, TRUTH, NAMES)
    theirs = classification_report(TRUTH, SAID, target_names=NAMES, output_dict=True, zero_division=0)
    assert found.scores["weighted precision"] == pytest.approx(theirs["weighted avg"]["precision"])
    assert found.scores["weighted recall"] == pytest.approx(accuracy_score(TRUTH, SAID))
    assert found.scores["weighted F1"] == pytest.approx(theirs["weighted avg"]["f1-score"])
    assert found.scores["macro F1"] == pytest.approx(theirs["macro avg"]["f1-score"])
    for name in NAMES:
        ours = found.per_class[name]
        assert (ours.precision, ours.recall, ours.f1, ours.support) == pytest.approx(
            [theirs[name][k] for k in theirs[name]]
        )


@pytest.mark.parametrize("multi", [False, True])
def test_scores_as_sums_over_studies_equal_scikit_learns_on_every_resample(multi):
    """The intervals are taken from sums; they must be the same scores, of all studies and of those drawn twice, once or
    never."""
    rng = np.random.default_rng(3)
    truth, said = ((rng.random((60, 3)) < 0.3).astype(int) if multi else rng.choice(3, 60) for _ in range(2))
    drawn = rng.choice(60, 60)
    found, again = class_scores(said, truth, NAMES), class_scores(said[drawn], truth[drawn], NAMES)
    for metric in METRICS:
        assert found.additive[metric].value() == pytest.approx(found.scores[metric]), metric
        assert found.additive[metric].value(drawn) == pytest.approx(again.scores[metric]), metric


def test_a_class_that_no_study_has_counts_in_no_mean():
    found = class_scores(np.array([0, 1, 1]), np.array([0, 1, 0]), (*NAMES, "Edema"))
    assert found.per_class["Edema"].support == 0
    assert found.scores["macro F1"] == pytest.approx((2 / 3 + 2 / 3) / 2) == found.additive["macro F1"].value()


def test_the_constant_answer_is_the_class_that_most_training_studies_have():
    found = constant_answer(TRAIN, TEST, NAMES)
    share = (TEST.targets == 0).mean()
    assert found.mean("weighted recall") == pytest.approx(share)
    assert found.mean("weighted precision") == pytest.approx(share**2)
    assert found.mean("macro F1") == pytest.approx(2 * share / (1 + share) / 3)
    multi = [studies(n, seed, "multi") for seed, n in enumerate((300, 100, 200))]
    assert constant_answer(multi[0], multi[2], NAMES).seeds[0].per_class[NORMAL].recall == 1


def test_several_seeds_give_a_mean_a_spread_and_an_interval():
    scores = [class_scores(said, TRUTH, NAMES) for said in (SAID, TRUTH)]
    result = SeedScores(scores)
    one, two = (s.scores["weighted F1"] for s in scores)
    assert result.mean("weighted F1") == pytest.approx((one + two) / 2)
    assert result.spread("weighted F1") == pytest.approx(abs(one - two) / np.sqrt(2))
    low, high = result.interval("weighted F1")
    assert low < result.mean("weighted F1") < high
    assert np.isnan(SeedScores(scores[:1]).spread("weighted F1"))
    assert result.per_class().loc[NORMAL, "support"] == 5
    table = score_table({"with": result, "without": SeedScores(scores[:1])})
    assert table.shape == (2, 4) and table.loc["with", "weighted recall"].startswith("81.2 ± 26.5 [")


def test_a_difference_is_taken_on_the_same_resampled_studies():
    worse, better = (SeedScores([class_scores(said, TRUTH, NAMES)]) for said in (SAID, TRUTH))
    same, (low, high) = difference(worse, worse, "weighted F1")
    assert (same, low, high) == (0, 0, 0)
    gain, (low, high) = difference(better, worse, "weighted F1")
    assert gain == pytest.approx(better.mean("weighted F1") - worse.mean("weighted F1")) and 0 <= low <= gain <= high
    with pytest.raises(ConfigurationError, match="same studies, not of \\[7, 8\\]"):
        difference(better, SeedScores([class_scores(SAID[1:], TRUTH[1:], NAMES)]), "weighted F1")


@pytest.mark.parametrize(
    "wrong", [np.array([0, 3]), np.array([[0, 2, 0], [0, 0, 0]]), np.array([[0, 1], [0, 0]]), np.array([0, -1])]
)
def test_classes_that_are_none_are_refused(wrong):
    with pytest.raises(ConfigurationError, match="classes must be numbers 0 to 2"):
        class_scores(wrong, np.array([0, 1]), NAMES)


def test_other_studies_than_the_truths_are_refused():
    with pytest.raises(ConfigurationError, match="not of 8 and 7"):
        class_scores(SAID, TRUTH[1:], NAMES)
