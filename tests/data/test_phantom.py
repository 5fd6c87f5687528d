"""The drawn radiographs: reproducible, faithful to the codes, and visibly changed where the boxes say."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from rrg_lib.data import iu_xray
from rrg_lib.data.phantom import draw, sample_studies
from rrg_lib.data.sources import DRAWING
from rrg_lib.data.study import DRAWN_FINDINGS, Study
from rrg_lib.data.text.keyword_labeler import KeywordLabeler

#: A code of each finding.
CODES = {
    "Cardiomegaly": "Cardiomegaly/moderate",
    "Opacity": "Opacity/lung/lower lobe/right",
    "Atelectasis": "Pulmonary Atelectasis/base/left",
    "Effusion": "Pleural Effusion/right/small",
    "Pneumothorax": "Pneumothorax/left/moderate",
    "Nodule": "Nodule/lung/upper lobe/right",
    "Granuloma": "Calcified Granuloma/lung/lower lobe/left",
    "Edema": "Pulmonary Edema/mild",
    "Device": "Catheters, Indwelling/right",
    "Fracture": "Fractures, Bone/ribs/left",
    "Scoliosis": "Scoliosis/thoracic vertebrae/right",
    "Hyperinflation": "Lung/hyperdistention",
    "Spine": "Thoracic Vertebrae/degenerative",
}


def patient(*codes: str, study_id: str = "CXR1") -> Study:
    return Study(study_id, "train", "", tuple(iu_xray.parse_code(code) for code in codes or ("normal",)))


def test_a_drawing_follows_from_id_and_seed_alone():
    study = patient("Cardiomegaly/mild", "Opacity/lung/base/left")
    first, again = draw(study, seed=3), draw(study, seed=3)
    assert np.array_equal(first.views, again.views) and first.boxes == again.boxes
    assert not np.array_equal(first.views, draw(study, seed=4).views)
    assert not np.array_equal(first.views, draw(replace(study, id="CXR2"), seed=3).views)


def test_the_drawings_are_those_of_their_word():
    """Prepared studies are found by `DRAWING`: other pixels need another word there, and then another hash here."""
    digest = hashlib.sha256()
    for number, code in enumerate(CODES.values()):
        drawing = draw(patient(code, study_id=f"CXR{number}"), seed=number)
        digest.update(drawing.views.tobytes() + repr(drawing.boxes).encode())
    assert (DRAWING, digest.hexdigest()[:16]) == ("9595a464", "d5cda818ca077344")


def test_views_are_two_gray_pictures_with_contrast():
    views = draw(patient()).views
    assert views.shape == (2, 256, 256) and views.dtype == np.uint8
    assert all(view.min() < 30 and view.max() > 170 for view in views)


def test_a_healthy_study_has_no_boxes():
    assert draw(patient()).boxes == ()


@pytest.mark.parametrize("size", [256, 128])
def test_every_drawn_finding_of_real_studies_has_a_box_inside_the_image(size):
    rare = [s for s in iu_xray.studies() if any(f.drawn in ("Pneumothorax", "Fracture", "Device") for f in s.findings)]
    for study in (*rare[::14], *iu_xray.studies()[::150]):
        boxes = draw(study, size=size).boxes
        assert {box.finding for box in boxes} == {finding.drawn for finding in study.findings if finding.drawn}
        assert {box.code for box in boxes} == {finding.code for finding in study.findings if finding.drawn}
        for box in boxes:
            assert 0 <= box.x0 < box.x1 <= size and 0 <= box.y0 < box.y1 <= size, (study.id, box)


@pytest.mark.parametrize(
    "code",
    [
        "Pleural Effusion/{}",
        "Opacity/lung/base/{}",
        "Pneumothorax/{}",
        "Nodule/lung/{}",
        "Calcified Granuloma/lung/{}",
        "Fractures, Bone/ribs/{}",
    ],
)
def test_the_patients_right_is_the_images_left(code):
    for number in range(4):
        for side, on_the_left in (("right", True), ("left", False)):
            boxes = draw(patient(code.format(side), study_id=f"CXR{number}")).boxes
            frontal = [box for box in boxes if box.view == 0]
            assert frontal and all(((box.x0 + box.x1) / 2 < 128) == on_the_left for box in frontal)


def test_places_follow_the_code():
    def height(place):
        return np.mean([draw(patient(f"Opacity/lung/{place}/right", study_id=f"CXR{i}")).boxes[0].y0 for i in range(5)])

    assert height("apex") < height("upper lobe") < height("base")


def test_severity_widens_the_heart():
    for number in range(3):
        hearts = [
            draw(patient(f"Cardiomegaly/{grade}", study_id=f"CXR{number}")).boxes[0]
            for grade in ("borderline", "mild", "moderate", "severe")
        ]
        widths = [box.x1 - box.x0 for box in hearts]
        assert widths == sorted(widths) and widths[-1] > 1.2 * widths[0]


@pytest.mark.parametrize("finding", DRAWN_FINDINGS)
def test_a_finding_changes_the_picture_inside_its_boxes(finding):
    """Against the same patient without it: same anatomy, pose and noise, so all that differs is the finding."""
    study = patient(CODES[finding])
    drawing, healthy = draw(study), draw(patient())
    change = np.abs(drawing.views.astype(float) - healthy.views)
    inside = np.zeros(change.shape, bool)
    for box in drawing.boxes:
        inside[box.view, box.y0 : box.y1, box.x0 : box.x1] = True
    assert change[inside].mean() > 3
    assert change[inside].mean() > 3 * change[~inside].mean()


def test_two_findings_do_not_move_each_other():
    alone = draw(patient("Nodule/lung/upper lobe/right")).boxes
    together = draw(patient("Nodule/lung/upper lobe/right", "Pleural Effusion/left/small")).boxes
    assert [box for box in together if box.finding == "Nodule"] == list(alone)


def test_sampled_studies_say_what_they_show():
    studies = sample_studies(120, seed=5)
    assert studies == sample_studies(120, seed=5) != sample_studies(120, seed=6)
    assert studies[:20] == sample_studies(20, seed=5)
    assert studies[42].id == "PH000042"
    assert [sum(study.split == split for study in studies) for split in ("train", "val", "test")] == [84, 12, 24]
    labeler = KeywordLabeler()
    for study in studies:
        assert labeler.label(study.report) == study.drawn, study.report
    assert np.all(np.sum([study.drawn for study in studies], axis=0) > 0)
    for finding in (finding for study in studies for finding in study.findings if finding.side):
        assert any(finding.side in study.report.lower() for study in studies if finding in study.findings)
