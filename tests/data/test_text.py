"""Cleaning, vocabulary and encodings equal the published protocol; reports are loaded at run time, the fixtures hold
ids and hashes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import pytest
from places import GOLDEN

from rrg_lib.data import iu_xray
from rrg_lib.data.text.cleaning import clean_clinical, clean_r2gen
from rrg_lib.data.text.vocabulary import PROTOCOLS, UNKNOWN, Vocabulary, protocol
from rrg_lib.errors import ReportError, UnknownNameError


def golden(name: str):
    return json.loads((GOLDEN / "data" / f"{name}.json").read_text(encoding="utf-8"))


def sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    return Vocabulary.build(study.report for study in iu_xray.studies("train"))


@pytest.mark.parametrize("case", golden("clean_edge"), ids=lambda case: repr(case["report"][:20]))
def test_made_up_edge_cases_are_cleaned_as_released(case, vocabulary):
    assert clean_r2gen(case["report"]) == case["cleaned_iu"]
    assert clean_r2gen(case["report"], collapse_spaces=True) == case["cleaned_mimic"]
    assert vocabulary.encode(case["report"]) == case["ids"]


def test_the_vocabulary_of_the_training_reports_has_the_760_released_ids(vocabulary):
    released = golden("iu_vocab")
    assert vocabulary.size == released["size"] == 760
    assert vocabulary.ids == released["token2idx"]
    assert vocabulary.ids[UNKNOWN] == 18  # sorted among the words, not last


@pytest.mark.parametrize("case", golden("iu_test20"), ids=lambda case: case["id"])
def test_test_reports_are_cleaned_encoded_and_decoded_as_released(case, vocabulary):
    """XProNet Eq. 2: a report is its words."""
    report = iu_xray.study(case["id"]).report
    assert sha256(clean_r2gen(report)) == case["cleaned_sha256"]
    assert vocabulary.encode(report, cut=False) == case["ids_full"]
    assert vocabulary.encode(report) == case["ids"]
    assert sha256(vocabulary.decode(case["ids"])) == case["gt_decoded_sha256"]
    assert sha256(PROTOCOLS["r2gen"].reference(report, vocabulary)) == case["gt_decoded_sha256"]


@pytest.mark.parametrize(("split", "cut"), [("train", 178), ("val", 25), ("test", 33)])
def test_sixty_ids_cut_as_many_reports_as_published(split, cut, vocabulary):
    encoded = [
        (vocabulary.encode(study.report, cut=False), vocabulary.encode(study.report))
        for study in iu_xray.studies(split)
    ]
    assert sum(len(full) > 60 for full, _ in encoded) == cut
    assert all(ids == full[:60] for full, ids in encoded)


def test_a_cut_report_loses_its_end_mark_and_still_decodes(vocabulary):
    report = "the lungs are clear. " * 20
    ids = vocabulary.encode(report)
    assert (len(ids), ids[0]) == (60, 0) and 0 not in ids[1:]
    assert vocabulary.decode(ids).split() == ["the", "lungs", "are", "clear", "."] * 11 + [
        "the",
        "lungs",
        "are",
        "clear",
    ]


def test_decoding_stops_at_the_first_end_mark_and_refuses_foreign_ids(vocabulary):
    assert vocabulary.decode([0, 314, 0, 314]) == vocabulary.decode([314]) == "heart"
    assert vocabulary.decode([0]) == vocabulary.decode([]) == ""
    with pytest.raises(ReportError, match=r"761 .* \(1 to 760\)"):
        vocabulary.decode([0, 761, 0])


def test_the_released_cleaning_makes_one_and_a_half_centimetres_fifteen():
    assert clean_r2gen("A 1.5 cm nodule.") == "a 15 cm nodule ."


@pytest.mark.parametrize(
    ("report", "tokens"),
    [
        ("A 1.5 cm right-sided nodule. Heart is normal.", "a 1.5 cm right-sided nodule . heart is normal ."),
        ("1. No acute disease. 2. Stable heart.", "no acute disease . stable heart ."),
        ("Measures 3.7 x 2 cm", "measures 3.7 x 2 cm ."),
        ("", ""),
        (" ... ", ""),
    ],
)
def test_the_clinical_cleaning_keeps_decimals_and_hyphens(report, tokens):
    assert clean_clinical(report) == tokens


def test_the_protocol_without_cut_scores_against_the_whole_report(vocabulary):
    report = "zzz " * 80 + "end."
    uncut = PROTOCOLS["r2gen_uncut"]
    assert PROTOCOLS["r2gen"].reference(report, vocabulary) == " ".join([UNKNOWN] * 59)
    assert uncut.reference(report, replace(vocabulary, protocol=uncut)).split() == ["zzz"] * 80 + ["end", "."]


@pytest.mark.parametrize("report", ["", " ", ".", "..", "?!"])
@pytest.mark.parametrize("name", ["r2gen", "r2gen_mimic", "clinical"])
def test_a_report_without_a_word_is_an_error_that_names_the_study(name, report):
    with pytest.raises(ReportError, match="study 'CXR9': the report is empty"):
        protocol(name).clean_checked(report, "CXR9")


def test_protocols_and_vocabularies_are_told_apart_by_their_hashes(vocabulary):
    hashes = {p.hash for p in PROTOCOLS.values()}
    assert len(hashes) == len(PROTOCOLS)
    assert vocabulary.hash != replace(vocabulary, tokens=vocabulary.tokens[:-1]).hash
    assert Vocabulary.from_json(json.loads(json.dumps(vocabulary.to_json()))) == vocabulary
    stored = vocabulary.to_json() | {"tokens": ["changed", *vocabulary.tokens[1:]]}
    with pytest.raises(ReportError, match="changed after it was written"):
        Vocabulary.from_json(stored)
    with pytest.raises(UnknownNameError, match="nearest: r2gen"):
        protocol("r2gem")
