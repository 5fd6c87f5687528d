"""Studies as vectors: a neutral image that tells nothing, reports that have not seen their own, and an alignment fitted
afterwards."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from toy import CONFIG, D_VF, MEMORY, PATCHES, WORDS, ToyDataset

from rrg_lib.data.text.vocabulary import Vocabulary
from rrg_lib.errors import ConfigurationError, ReportError
from rrg_lib.experiments.image_report_retrieval import (
    encode_studies,
    fit_alignment,
    image_report_retrieval,
    neutral_image,
)
from rrg_lib.models.batches import StudyBatches
from rrg_lib.models.generator import ReportGenerator
from rrg_lib.models.memory.cmn import CMNMemory
from rrg_lib.models.pair_alignment import PairConfig
from rrg_lib.models.report_loss import report_loss
from rrg_lib.models.visual.extractor import VisualFeatures


def generator(pair: PairConfig | None = None) -> ReportGenerator:
    torch.manual_seed(0)
    return ReportGenerator(CONFIG, MEMORY, pair=pair)


def test_the_neutral_image_is_the_mean_of_the_training_studies_patches():
    data = ToyDataset()
    training = StudyBatches(data, range(30), data.patches)
    expected = torch.from_numpy(np.mean([data.patches(i) for i in range(30)], axis=0))
    torch.testing.assert_close(neutral_image(generator(), training), expected)


class Eye(nn.Module):
    """An extractor that learns: views (B, V, H, W) -> PATCHES patches of D_VF numbers."""

    def __init__(self):
        super().__init__()
        self.net = nn.Linear(4, D_VF)

    def forward(self, views):
        return VisualFeatures(self.net(views.float().reshape(len(views), PATCHES, 4) / 255), None)


def test_a_generator_with_its_own_extractor_is_encoded_from_views():
    data = ToyDataset(9)
    views = np.random.default_rng(0).integers(0, 256, (9, 2, 3, 4), dtype=np.uint8)
    torch.manual_seed(0)
    model = ReportGenerator(CONFIG, MEMORY, Eye(), PairConfig())
    studies = StudyBatches(data, range(9), lambda i: views[i])
    neutral = neutral_image(model, studies)
    torch.testing.assert_close(neutral, model.extractor(torch.from_numpy(views)).patches.mean(0))
    assert encode_studies(model, studies, neutral).report_unit.shape == (9, CONFIG.d_model)


def test_a_report_encoded_with_the_neutral_image_has_not_seen_its_own():
    """Another picture for study 3 changes its image's vectors and the leaking one, and nothing that is compared with
    them."""
    model, data = generator(PairConfig()), ToyDataset()
    neutral = neutral_image(model, data.batches())
    before = encode_studies(model, data.batches(), neutral)
    data._patches[3] = np.random.default_rng(1).normal(0, 1, data._patches[3].shape)
    after = encode_studies(model, data.batches(), neutral)
    for name in ("report", "report_unit"):
        np.testing.assert_allclose(getattr(after, name), getattr(before, name), atol=1e-6)
    for name in ("image", "image_unit", "leaking_unit"):
        moved = np.abs(getattr(after, name) - getattr(before, name)).max(axis=1)
        assert moved[3] > 1e-2 and np.delete(moved, 3).max() < 1e-6, name


def test_what_a_report_says_changes_its_vectors():
    model, data = generator(PairConfig()), ToyDataset()
    neutral = neutral_image(model, data.batches())
    before = encode_studies(model, data.batches(), neutral)
    data._tokens[3] = [0, 9, 10, 11, 0]
    after = encode_studies(model, data.batches(), neutral)
    for name in ("report", "report_unit"):
        assert np.abs(getattr(after, name) - getattr(before, name)).max(axis=1)[3] > 1e-2


def test_image_and_report_are_the_means_of_encoded_patches_and_of_words_with_their_memory():
    model, data = generator().eval(), ToyDataset(5)
    encoded = encode_studies(model, data.batches(), neutral_image(model, data.batches()))
    for i in range(5):
        words = torch.tensor([[0, *data.tokens(i)[1:-1]]])
        with torch.no_grad():
            embedded = model.token_embedding(words) * CONFIG.d_model**0.5 + model.token_positions.code[: words.shape[1]]
            asked = embedded + model.memory.respond(embedded, model.memory.slots(None, "text")).vectors
            patches = model.encode(torch.from_numpy(data.patches(i))[None])[0]
        np.testing.assert_allclose(encoded.report[i], asked[0, 1:].mean(0), atol=1e-5)  # the begin mark is no word
        np.testing.assert_allclose(encoded.image[i], patches[0].mean(0), atol=1e-5)


def test_the_mean_over_a_reports_positions_does_not_depend_on_the_batch():
    """Rows padded to a longer report of their batch have the vectors they have alone."""
    model, data = generator(PairConfig()), ToyDataset(4)
    data._tokens[0] = [0, 1, 2, 3, 4, 5, 11, 0]
    neutral = neutral_image(model, data.batches())
    together, alone = (
        encode_studies(model, StudyBatches(data, which, data.patches), neutral) for which in (range(4), [2])
    )
    for name in ("image", "report", "report_unit", "leaking_unit"):
        np.testing.assert_allclose(getattr(together, name)[2], getattr(alone, name)[0], atol=1e-5)


def test_labels_of_the_reference_are_never_given(monkeypatch):
    given = []
    original = CMNMemory.slots
    monkeypatch.setattr(
        CMNMemory, "slots", lambda self, labels, modality: given.append(labels) or original(self, labels, modality)
    )
    model, data = generator(PairConfig()), ToyDataset().batches()
    encode_studies(model, data, neutral_image(model, data))
    fit_alignment(model, data, epochs=1)
    assert given and all(labels is None for labels in given)


def test_the_mode_of_the_generator_is_as_before():
    model, data = generator(PairConfig()), ToyDataset().batches()
    model.train()
    first, second = (encode_studies(model, data, neutral_image(model, data)) for _ in range(2))
    assert model.training
    np.testing.assert_array_equal(first.report_unit, second.report_unit)  # dropout was off


def test_generated_reports_can_take_the_place_of_the_references():
    model, data = generator(PairConfig()), ToyDataset()
    data.vocabulary = Vocabulary((*(f"w{chr(96 + i)}" for i in range(1, WORDS)), "<unk>"))
    neutral = neutral_image(model, data.batches())
    references = {study: data.vocabulary.decode(data.tokens(i)) for i, study in enumerate(data.ids)}
    own = encode_studies(model, data.batches(), neutral)
    np.testing.assert_allclose(
        encode_studies(model, data.batches(), neutral, reports=references).report, own.report, atol=1e-6
    )
    other = encode_studies(model, data.batches(), neutral, reports={**references, "toy3": "wa wb wc wd we"})
    assert np.abs(other.report - own.report).max(axis=1).argmax() == 3
    with pytest.raises(ReportError, match="no report for study 'toy3'"):
        encode_studies(model, data.batches(), neutral, reports={k: v for k, v in references.items() if k != "toy3"})


def test_an_alignment_fitted_afterwards_leaves_the_generator_as_it_was_and_lowers_its_loss():
    model, data = generator(), ToyDataset().batches()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    neutral, state = neutral_image(model, data), torch.random.get_rng_state()
    start, fitted, again = (fit_alignment(model, data, epochs=n, lr=1e-2, seed=4) for n in (0, 20, 20))
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())
    assert all(torch.equal(a, b) for a, b in zip(fitted.parameters(), again.parameters(), strict=True))
    apart = [
        image_report_retrieval(encode_studies(model, data, neutral, alignment=a))["own image"] for a in (start, fitted)
    ]
    assert apart[1].matching - apart[1].other > apart[0].matching - apart[0].other
    assert model.pair is None


def test_what_cannot_be_encoded_or_compared_is_named():
    data = ToyDataset().batches()
    with pytest.raises(
        ConfigurationError, match=rf"neutral image has shape \(4, {D_VF}\), a study \({PATCHES}, {D_VF}\)"
    ):
        encode_studies(generator(), data, torch.zeros(4, D_VF))
    plain = encode_studies(generator(), data, torch.zeros(PATCHES, D_VF))
    assert plain.report_unit is None and plain.report.shape == (40, CONFIG.d_model)
    with pytest.raises(ConfigurationError, match="without a pair alignment"):
        image_report_retrieval(plain)


def test_logits_that_never_saw_the_image_can_be_aligned_with_it():
    """What the words alone tell: a projection fitted on neutral logits of a generator that stays as it is finds images
    by their reports; one fitted on logits that have seen the image finds them no better than chance (5 among 40: .125)
    once they have not."""
    model, data = generator(), ToyDataset().batches()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for batch in [*data.loader(20)] * 40:
        loss = report_loss(model(batch).logits, batch.tokens, batch.mask)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    neutral = neutral_image(model, data)
    recalls = []
    for seen in (neutral, None):
        alignment = fit_alignment(model, data, PairConfig(form="infonce"), neutral=seen, epochs=40, lr=1e-2)
        recalls.append(
            image_report_retrieval(encode_studies(model, data, neutral, alignment=alignment))[
                "neutral"
            ].report_to_image[5]
        )
    assert recalls[0] > 0.6 > 0.3 > recalls[1]
