"""Verdicts, numbers with their words, and what the interval of a kept measurement decides."""

from __future__ import annotations

import pytest

from rrg_lib.replication.claim_measurements import MEASUREMENTS, Measurement, kept
from rrg_lib.replication.printed_values import Origin, Place, Quantity, published
from rrg_lib.replication.verdicts import MEASURED_ON_DRAWN, Numbers, Verdict
from rrg_lib.runtime import package_data


def between(low: float, high: float) -> Measurement:
    return Measurement("x", (low + high) / 2, low, high, seeds=3, studies=590, of="", made_by="")


@pytest.mark.parametrize(
    ("low", "high", "level", "delta", "verdict"),
    [
        (0.01, 0.05, 0.0, 0.0, Verdict.HOLDS),
        (-0.05, -0.01, 0.0, 0.0, Verdict.FAILS),
        (-0.01, 0.01, 0.0, 0.02, Verdict.NO_DIFFERENCE),
        (-0.03, 0.01, 0.0, 0.02, Verdict.UNDECIDED),
        (-0.01, 0.01, 0.0, 0.0, Verdict.UNDECIDED),
        (0.05, 0.09, 0.068, 0.0, Verdict.UNDECIDED),
        (0.07, 0.09, 0.068, 0.0, Verdict.HOLDS),
        (-0.04, -0.02, -0.03, 0.0, Verdict.UNDECIDED),
        (-0.02, 0.01, -0.03, 0.0, Verdict.HOLDS),
    ],
)
def test_an_interval_decides_what_lies_on_one_side_of_it(low, high, level, delta, verdict):
    assert between(low, high).against(level, delta) is verdict


def test_chance_is_counted_from_the_system_and_is_the_one_that_was_written_down():
    """20 prototypes in each of 14 classes: 19 of the 279 others are of one's own."""
    decision = MEASUREMENTS["prototypes_lie_by_class"]()
    (trained,) = kept("nearest prototype of the same class, trained")
    assert decision.evidence == trained and decision.verdict is trained.against(19 / 279)
    assert decision.why.endswith(f"; by chance {19 / 279:.3f}") and trained.of.endswith(f"by chance {19 / 279:.3f}")


def test_what_was_not_measured_says_which_command_measures_it(monkeypatch):
    monkeypatch.setattr(package_data, "table", lambda name: ())
    with_rows = ("word_and_patch_share_prototypes", "prototypes_lie_by_class", "rare_classes_beside_all")
    monkeypatch.setattr("rrg_lib.replication.claim_measurements.smallest_difference", lambda score: 0.1)
    for name in with_rows:
        decision = MEASUREMENTS[name]()
        assert (decision.verdict, decision.evidence) == (Verdict.NOT_RUN, None)
        assert decision.why.startswith("not measured; python tools/measurements.py ")


def test_numbers_are_numbers_until_they_are_shown():
    gains = Numbers("IU X-Ray {iu_xray:.1f} %, BLEU-1 {BLEU-1:+.2f}", {"iu_xray": 19.64, "BLEU-1": -1.5})
    assert gains["iu_xray"] == 19.64 and str(gains) == "IU X-Ray 19.6 %, BLEU-1 -1.50"


def test_only_verdicts_on_drawn_studies_say_so_and_their_short_form_does_not():
    assert {verdict for verdict in Verdict if "IU-Phantom" in verdict} == set(MEASURED_ON_DRAWN)
    assert [verdict.short for verdict in MEASURED_ON_DRAWN] == [
        "holds",
        "fails",
        "no difference that matters",
        "undecided",
    ]
    assert Verdict.NOT_RUN.short == "not run" and not Verdict.NOT_RUN.on_drawn_studies


def test_a_printed_value_says_what_it_is_where_it_stands_and_whose_it_is():
    """Counted over the file: 338 scores, 6 values of figures, 81 that others measured."""
    values = published()
    kinds = {quantity: sum(value.quantity is quantity for value in values) for quantity in Quantity}
    assert kinds == {
        Quantity.SCORE: 338,
        Quantity.COUNT: 19,
        Quantity.LENGTH: 6,
        Quantity.GAIN: 4,
        Quantity.PARAMETERS: 1,
        Quantity.SETTING: 3,
    }
    assert sum(value.kind_of_place is Place.FIGURE for value in values) == 6
    assert sum(value.origin in (Origin.CITED, Origin.RERUN) for value in values) == 81
    assert sum(value.origin is Origin.ROUNDED for value in values) == 24
