"""The IU collection: as many studies as published, in the published split, with their expert codes parsed."""

from __future__ import annotations

import hashlib
from collections import Counter

import pytest

from rrg_lib.data import iu_xray
from rrg_lib.data.study import DRAWN_FINDINGS, OBSERVATIONS, Finding
from rrg_lib.errors import AnnotationError, UnknownNameError


def test_the_collection_has_3955_records_and_the_split_2955_studies():
    assert len(iu_xray.records()) == 3955
    assert [len(iu_xray.studies(split)) for split in ("train", "val", "test")] == [2069, 296, 590]
    assert iu_xray.studies() == iu_xray.studies("train") + iu_xray.studies("val") + iu_xray.studies("test")
    assert len({study.id for study in iu_xray.studies()}) == 2955


def test_the_split_is_the_studies_with_two_images_and_findings():
    uids = {study.id.removeprefix("CXR").split("_")[0] for study in iu_xray.studies()}
    assert uids == {uid for uid, record in iu_xray.records().items() if record.findings and len(record.images) >= 2}
    assert all(len(study.views) == 2 and study.report for study in iu_xray.studies())


@pytest.mark.parametrize(
    ("split", "digest"), [("train", "3a1e4629686c29eb"), ("val", "3d534d5695340906"), ("test", "e38d09a680263212")]
)
def test_the_split_has_the_released_ids_in_the_released_order(split, digest):
    ids = " ".join(study.id for study in iu_xray.studies(split))
    assert hashlib.sha256(ids.encode()).hexdigest().startswith(digest)


def test_222_of_590_test_studies_are_abnormal():
    assert sum(study.is_abnormal for study in iu_xray.studies("test")) == 222


@pytest.mark.parametrize(
    ("code", "finding"),
    [
        ("normal", Finding("normal", "normal")),
        (
            "Cardiomegaly/borderline",
            Finding("Cardiomegaly/borderline", "Cardiomegaly", "Cardiomegaly", "Cardiomegaly", (), None, "borderline"),
        ),
        (
            "Opacity/lung/base/left/mild",
            Finding(
                "Opacity/lung/base/left/mild", "Opacity", "Opacity", "Lung Opacity", ("lung", "base"), "left", "mild"
            ),
        ),
        (
            "Pulmonary Atelectasis/base/bilateral",
            Finding(
                "Pulmonary Atelectasis/base/bilateral",
                "Pulmonary Atelectasis",
                "Atelectasis",
                "Atelectasis",
                ("base",),
                "bilateral",
            ),
        ),
        (
            "Catheters, Indwelling/right",
            Finding("Catheters, Indwelling/right", "Catheters, Indwelling", "Device", "Support Devices", (), "right"),
        ),
        ("Aorta/tortuous", Finding("Aorta/tortuous", "Aorta", place=("tortuous",))),
        ("No Such Head/left", Finding("No Such Head/left", "No Such Head", side="left")),
    ],
)
def test_a_code_is_head_place_side_and_severity(code, finding):
    assert iu_xray.parse_code(code) == finding


@pytest.mark.parametrize(
    ("code", "drawn"),
    [
        ("Cardiac Shadow/enlarged", "Cardiomegaly"),
        ("Cardiac Shadow/enlarged/mild", "Cardiomegaly"),
        ("Cardiac Shadow", None),
        ("Cardiac Shadow/borderline", None),
        ("Lung/hyperdistention", "Hyperinflation"),
        ("Lung/bilateral/hyperdistention", "Hyperinflation"),
        ("Lung/upper lobe/right", None),
    ],
)
def test_two_heads_are_findings_only_with_their_qualifier(code, drawn):
    """An enlarged cardiac shadow is cardiomegaly, a cardiac shadow is none; the qualifier may stand anywhere in the
    code."""
    assert iu_xray.parse_code(code).drawn == drawn


def test_every_code_of_the_split_maps_into_the_label_sets():
    for study in iu_xray.studies():
        assert len(study.drawn) == 13 and len(study.observations) == 14
        for finding in study.findings:
            assert finding.drawn is None or finding.drawn in DRAWN_FINDINGS
            assert finding.observation is None or finding.observation in OBSERVATIONS


def test_a_study_is_found_by_id_or_its_neighbours_are_named():
    assert iu_xray.study("CXR2384_IM-0942").split == "train"
    with pytest.raises(UnknownNameError, match="CXR2384_IM-0942"):
        iu_xray.study("CXR2384_IM-0943")


def test_a_record_without_findings_is_read_and_bad_xml_is_not():
    xml = b'<r><uId id="CXR7"/><MeSH><major>normal</major></MeSH><parentImage id="a"/><parentImage id="b"/></r>'
    assert iu_xray.parse_record(xml) == iu_xray.Record("7", "", ("normal",), ("a", "b"))
    with pytest.raises(AnnotationError, match=r"7\.xml: is not well-formed XML"):
        iu_xray.parse_record(b"<r>", "7.xml")


def test_a_record_keeps_why_its_films_were_made_and_what_they_were_compared_with():
    xml = b"""<r><uId id="CXR7"/><AbstractText Label="COMPARISON">None.</AbstractText>
        <AbstractText Label="INDICATION"> Cough </AbstractText>
        <AbstractText Label="FINDINGS">Clear.</AbstractText></r>"""
    record = iu_xray.parse_record(xml)
    assert (record.indication, record.comparison, record.findings) == ("Cough", "None.", "Clear.")
    told = iu_xray.requests()
    assert told.keys() == {study.id for study in iu_xray.studies()}
    assert [sum(bool(each[i]) for each in told.values()) for i in (0, 1)] == [2907, 2645]


def test_the_headers_of_the_films_say_size_depth_and_how_to_show_them():
    headers = iu_xray.film_headers()
    assert len(headers) == 7469 and headers.keys() <= {
        iu_xray.image_key(image) for record in iu_xray.records().values() for image in record.images
    }
    assert Counter(header.bits for header in headers.values()) == {12: 5906, 15: 1476, 10: 61, 14: 26}
    assert sum(header.low_is_bright for header in headers.values()) == 3584
    assert (
        sum(header.window is not None for header in headers.values()) == 4103
        and sum(header.has_table for header in headers.values()) == 3037
    )
    assert Counter(header.position for header in headers.values()) == {"frontal": 4016, None: 2586, "lateral": 867}
    assert {key: header.position for key, header in headers.items() if header.position} == iu_xray.positions()
    programs = Counter(header.program for header in headers.values())
    assert (programs["60003"], programs["60025"], programs[""]) == (1366, 1353, 1944)
    three_windows = headers["1063_IM-0044-84654001"]  # the first of them counts
    assert (three_windows.rows, three_windows.columns, three_windows.window) == (2016, 2022, (5292.0, 3380.0))
    assert all(header.rows > 1500 and header.columns > 1500 for header in headers.values())
