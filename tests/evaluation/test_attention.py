"""The box score: exact on maps whose answer is known, and on a generator whose attention can be computed a second
way."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
import toy

from rrg_lib.data.study import Box
from rrg_lib.data.text.vocabulary import Vocabulary
from rrg_lib.errors import ConfigurationError, ReportError
from rrg_lib.evaluation.attention import (
    CROSS_ATTENTION,
    SHARED_SLOTS,
    FindingMention,
    box_cover,
    box_score,
    box_summary,
    box_table,
    find_mentions,
    look,
    shared_slots,
)
from rrg_lib.models.batches import StudyBatches
from rrg_lib.models.generator import ReportGenerator, TransformerConfig
from rrg_lib.models.memory import CMNConfig, XProNetConfig

LEFT_HALF = Box("Effusion", 0, 0, 0, 128, 256)


def test_cover_is_the_part_of_each_patch_that_lies_in_a_box():
    cover = box_cover([LEFT_HALF])
    assert cover.shape == (2, 7, 7)
    np.testing.assert_allclose(cover[0], np.tile([1, 1, 1, 0.5, 0, 0, 0], (7, 1)), atol=1e-12)
    assert cover[1].sum() == 0


def test_cover_has_the_area_of_the_boxes_and_counts_an_overlap_once():
    boxes = [Box("Nodule", 1, 10, 20, 47, 90), Box("Nodule", 1, 30, 50, 60, 100), Box("Nodule", 0, 200, 3, 256, 4)]
    pixels = 37 * 70 + 30 * 50 - 17 * 40 + 56
    assert box_cover(boxes).mean() == pytest.approx(pixels / (2 * 256 * 256))


def test_rows_of_a_map_are_y_and_columns_x():
    cover = box_cover([Box("Nodule", 0, 220, 0, 256, 36)])  # upper right of the picture
    assert cover[0].argmax() == 6


def test_a_uniform_map_scores_chance():
    score = box_score(np.ones(98), box_cover([LEFT_HALF]))
    assert (score.inside, score.chance, score.auc) == pytest.approx((0.25, 0.25, 0.5))
    assert score.ratio == pytest.approx(1)


def test_a_map_on_the_box_alone_scores_one_and_one_elsewhere_zero():
    cover = box_cover([Box("Effusion", 1, 0, 0, 64, 64)], grid=4)
    on = box_score(torch.as_tensor(cover), cover)
    off = box_score(1 - cover, cover)
    assert (on.inside, on.chance, on.auc) == pytest.approx((1, 1 / 32, 1))
    assert (off.inside, off.auc) == pytest.approx((0, 0))


def test_auc_equals_counting_pairs():
    rng = np.random.default_rng(0)
    attention, cover = rng.integers(0, 5, 98).astype(float), rng.integers(0, 2, 98).astype(float)
    a, b = attention[cover == 1][:, None], attention[cover == 0][None]
    assert box_score(attention, cover).auc == pytest.approx(((a > b) + (a == b) / 2).mean())


@pytest.mark.parametrize(
    ("attention", "message"),
    [(np.ones(49), "49 patches"), (np.zeros(98), "not 0 everywhere"), (np.r_[-1.0, np.ones(97)], "nowhere negative")],
)
def test_maps_that_cannot_be_scored_are_refused(attention, message):
    with pytest.raises(ConfigurationError, match=message):
        box_score(attention, box_cover([LEFT_HALF]))


def test_a_box_of_a_view_that_is_not_there_is_refused():
    with pytest.raises(ConfigurationError, match="view 1"):
        box_cover([Box("Nodule", 1, 0, 0, 9, 9)], views=1)


def test_mentions_are_the_words_of_the_match_and_not_of_what_is_denied():
    report = "the heart is enlarged . no pneumothorax . there is a small left pleural effusion ."
    assert find_mentions(report) == [FindingMention("Cardiomegaly", (1, 2, 3)), FindingMention("Effusion", (14,))]
    words = report.split()
    assert (words[1:4], words[14]) == (["heart", "is", "enlarged"], "effusion")


def test_mentions_survive_empty_sentences():
    report = "clear .  . bibasilar opacities . no effusion . degenerative spine"
    found = {mention.finding: [report.split()[word] for word in mention.words] for mention in find_mentions(report)}
    assert found == {"Opacity": ["opacities"], "Spine": ["degenerative"]}


def test_shared_slots_are_counted_head_by_head_and_weigh_what_both_give():
    word = torch.tensor([[0.5, 0.3, 0.2], [0.6, 0.3, 0.1]]), torch.tensor([[4, 0, 2], [1, 3, 5]])
    patch = torch.tensor([[[0.4, 0.4, 0.2]], [[1.0, 0.0, 0.0]]]), torch.tensor([[[2, 4, 5]], [[0, 2, 4]]])
    found = shared_slots(word, patch, slots=6)
    assert found.count.tolist() == [1.0]  # head 0 shares slots 4 and 2, head 1 none
    torch.testing.assert_close(found.weight, torch.tensor([(min(0.5, 0.4) + min(0.2, 0.4)) / 2]))


def test_a_patch_that_asks_exactly_what_the_word_asks_shares_everything():
    weights = torch.rand(4, 3, generator=torch.Generator().manual_seed(0)).softmax(-1)
    indices = torch.stack([torch.randperm(9, generator=torch.Generator().manual_seed(h))[:3] for h in range(4)])
    found = shared_slots((weights, indices), (weights[:, None].flip(-1), indices[:, None].flip(-1)), slots=9)
    assert (found.weight.item(), found.count.item()) == pytest.approx((1, 3))


def test_looks_are_at_the_step_that_writes_a_word_and_at_the_word_that_asks():
    model = toy.generator(toy.MEMORY).train()
    inputs = torch.randn(2, toy.PATCHES, toy.D_VF, generator=torch.Generator().manual_seed(1))
    looks = look(model, inputs, [[3, 5, 7], [2]])
    assert model.training
    model.eval()
    words = torch.tensor([[0, 3, 5]])  # what has been said when word 2 is written
    with torch.no_grad():
        trace: list[torch.Tensor] = []
        x, _ = model._consult(model._embed_tokens(words), model.memory.slots(None, "text"), "text")
        encoded, image = model.encode(inputs[:1])
        model.decoder(x, encoded, torch.ones(3, 3, dtype=torch.bool).tril(), trace=trace)
        torch.testing.assert_close(looks.cross_map(0, [2]), torch.stack(trace)[:, 0, :, -1].mean((0, 1)))
        response = model.memory.respond(model._embed_tokens(words), model.memory.slots(None, "text"))
    expected = shared_slots(
        (response.weights[0, :, 2], response.indices[0, :, 2]), (image.weights[0], image.indices[0]), toy.MEMORY.slots
    )
    torch.testing.assert_close(looks.overlap(0, [1]).weight, expected.weight)
    assert looks.slots == toy.MEMORY.slots


class Drawn:
    """Three studies whose effusion is in three places, and one without boxes."""

    def __init__(self):
        self.reports = dict.fromkeys("abc", "a pleural effusion") | {"d": "pleural effusion"}
        self.vocabulary = Vocabulary.build(["a pleural effusion"] * 3)
        self.ids, self.observations = list(self.reports), np.zeros((4, 14), np.uint8)

    def boxes(self, i):
        return () if i == 3 else (Box("Effusion", i % 2, 30 * i, 100, 30 * i + 60, 200),)

    def tokens(self, i):
        return self.vocabulary.encode(self.reports[self.ids[i]])

    def batches(self):
        rng = np.random.default_rng(0)
        patches = rng.normal(size=(4, 98, toy.D_VF)).astype(np.float32)
        return StudyBatches(self, range(4), lambda i: patches[i])


def generator(memory):
    torch.manual_seed(0)
    return ReportGenerator(
        TransformerConfig(vocab_size=5, d_vf=toy.D_VF, d_model=16, d_ff=16, heads=2, layers=2), memory
    ).eval()


def test_the_table_has_a_row_a_mention_and_a_look_and_its_numbers_are_those_of_the_map():
    drawn, model = Drawn(), generator(CMNConfig(slots=9, top_k=3))
    table = box_table(model, drawn.batches(), drawn.reports)
    assert table.groupby("look").size().to_dict() == {SHARED_SLOTS: 3, CROSS_ATTENTION: 3}
    assert set(table["words"]) == {"effusion"} and set(table["study"]) == set("abc")
    looks = look(model, drawn.batches().collate([1]).inputs, [drawn.tokens(1)[1:-1]])
    score = box_score(looks.cross_map(0, [2]), box_cover(drawn.boxes(1)))
    row = table[(table["study"] == "b") & (table["look"] == CROSS_ATTENTION)].iloc[0]
    assert (row["inside"], row["chance"], row["auc"]) == pytest.approx(
        (score.inside, score.chance, score.auc), abs=1e-6
    )
    elsewhere = look(model, drawn.batches().collate([0, 2]).inputs, [drawn.tokens(0)[1:-1]] * 2)
    others = box_score((elsewhere.cross_map(0, [2]) + elsewhere.cross_map(1, [2])) / 2, box_cover(drawn.boxes(1)))
    assert row["others"] == pytest.approx(others.inside, abs=1e-6)


def test_without_a_memory_only_cross_attention_is_scored():
    drawn = Drawn()
    assert set(box_table(generator(None), drawn.batches(), drawn.reports)["look"]) == {CROSS_ATTENTION}


def test_a_gated_memory_is_told_the_labels_given_and_not_those_of_the_batch():
    drawn, model = Drawn(), generator(XProNetConfig(prototypes=4, gamma=3, image_dim=3, text_dim=3, dropout=0.0))
    drawn.observations[:, 0] = 1
    labels = np.eye(14, dtype=np.uint8)[[2, 5, 5, 9]]
    table = box_table(model, drawn.batches(), drawn.reports, labels).set_index(["study", "look"])["inside"]
    for i, study in enumerate("abc"):
        told = look(
            model,
            drawn.batches().collate([i]).inputs,
            [drawn.tokens(i)[1:-1]],
            torch.from_numpy(labels[i : i + 1]).float(),
        )
        score = box_score(told.cross_map(0, [2]), box_cover(drawn.boxes(i)))
        assert table[study, CROSS_ATTENTION] == pytest.approx(score.inside, abs=1e-6)
    open_to_all = box_table(model, drawn.batches(), drawn.reports).set_index(["study", "look"])["inside"]
    assert (table - open_to_all).abs().max() > 1e-6


def test_nothing_that_was_drawn_gives_an_empty_table_and_summary():
    drawn = Drawn()
    table = box_table(generator(None), drawn.batches(), dict.fromkeys("abcd", "a"))
    assert table.empty and box_summary(table).empty


def test_reports_that_are_missing_or_of_other_words_are_refused():
    drawn = Drawn()
    with pytest.raises(ReportError, match="'d' has no report"):
        box_table(generator(None), drawn.batches(), {name: "a" for name in "abc"})
    with pytest.raises(ReportError, match="'left'"):
        box_table(generator(None), drawn.batches(), dict.fromkeys("abcd", "left effusion"))


def test_the_summary_is_a_ratio_of_means_with_an_interval_around_it():
    rows = [
        ["a", "Effusion", 0.2, 0.1],
        ["a", "Effusion", 0.4, 0.1],
        ["b", "Effusion", 0.1, 0.2],
        ["c", "Nodule", 0.3, 0.3],
    ]
    table = pd.DataFrame(rows, columns=["study", "finding", "inside", "chance"]).assign(
        look="x", others=0.1, auc=0.5, words="w"
    )
    found = box_summary(table)
    effusion = found.loc[("x", "Effusion")]
    assert (effusion["n"], effusion["studies"], effusion["ratio"]) == (3, 2, pytest.approx(0.7 / 0.4))
    assert effusion["low"] == pytest.approx(0.5) and effusion["high"] == pytest.approx(
        3
    )  # study b alone, study a alone
    assert found.loc[("x", "Nodule"), "ratio"] == pytest.approx(1)
    assert (
        effusion["own"] == pytest.approx(0.7 / 0.3)
        and effusion["own_low"] == pytest.approx(1)
        and effusion["own_high"] == pytest.approx(3)
    )
    assert list(box_summary(table, by=["finding"]).index) == ["Effusion", "Nodule"]


def test_a_mention_that_no_other_study_has_is_left_out_of_the_habit():
    rows = [["a", 0.4, 0.1, 0.2], ["b", 0.2, 0.1, 0.2], ["c", 9.0, 0.1, np.nan]]
    table = pd.DataFrame(rows, columns=["study", "inside", "chance", "others"]).assign(look="x", finding="y", auc=0.5)
    found = box_summary(table, by=["look"]).loc["x"]
    assert (
        found["own"] == pytest.approx(1.5)
        and found["own_low"] == pytest.approx(1)
        and found["own_high"] == pytest.approx(2)
    )
    assert found["ratio"] == pytest.approx(9.6 / 0.3)
    alone = box_summary(table[table["study"] == "c"], by=["look"]).loc["x"]
    assert np.isnan(alone[["own", "own_low", "own_high"]].astype(float)).all() and alone["ratio"] == pytest.approx(90)
