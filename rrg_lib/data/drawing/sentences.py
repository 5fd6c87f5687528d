"""Studies of our own: findings sampled with side, place and severity, and a report written from a small grammar."""

from __future__ import annotations

import numpy as np

from rrg_lib.data.mesh_codes import parse_code
from rrg_lib.data.study import Split, Study

_GRADES = ("mild", "mild", "moderate", "severe")
_SIDED = ("left", "right")
_LOBES = ("upper lobe", "lower lobe", "base")

#: finding -> (chance, code, sentences). Braces stand for what was sampled; a capital letter inside them starts the
#: sentence.
_GRAMMAR: dict[str, tuple[float, str, tuple[str, ...]]] = {
    "Cardiomegaly": (
        0.16,
        "Cardiomegaly/{grade}",
        ("There is {grade} cardiomegaly.", "{Grade} cardiomegaly is present.", "The heart shows {grade} cardiomegaly."),
    ),
    "Opacity": (
        0.18,
        "Opacity/lung/{place}/{side}",
        ("There is a patchy opacity in the {side} {place}.", "Patchy airspace opacity of the {side} {place} is seen."),
    ),
    "Atelectasis": (
        0.12,
        "Pulmonary Atelectasis/base/{side}",
        ("Linear atelectasis at the {side} base.", "There are bands of atelectasis in the {side} lung base."),
    ),
    "Effusion": (
        0.12,
        "Pleural Effusion/{side}/{size}",
        ("There is a {size} {side} pleural effusion.", "{Size} pleural effusion on the {side}."),
    ),
    "Pneumothorax": (
        0.06,
        "Pneumothorax/{side}/{size}",
        ("There is a {size} {side} pneumothorax.", "{Size} pneumothorax is present on the {side}."),
    ),
    "Nodule": (
        0.08,
        "Nodule/lung/{place}/{side}",
        ("A round nodule projects over the {side} {place}.", "There is a pulmonary nodule in the {side} {place}."),
    ),
    "Granuloma": (
        0.1,
        "Calcified Granuloma/lung/{place}/{side}",
        ("Calcified granuloma in the {side} {place}.", "A dense granuloma of the {side} {place} is noted."),
    ),
    "Edema": (
        0.06,
        "Pulmonary Edema/{grade}",
        ("There is {grade} pulmonary edema.", "Perihilar haze suggests {grade} edema."),
    ),
    "Device": (
        0.1,
        "Catheters, Indwelling/{side}",
        (
            "A {side} central venous catheter ends in the superior vena cava.",
            "{Side} catheter with its tip over the cava.",
        ),
    ),
    "Fracture": (
        0.05,
        "Fractures, Bone/ribs/{side}",
        ("There is a fracture of a {side} rib.", "Fracture of a {side} rib is seen."),
    ),
    "Scoliosis": (
        0.06,
        "Scoliosis/thoracic vertebrae/{side}/{grade}",
        ("{Grade} scoliosis of the thoracic spine, convex to the {side}.", "The spine shows {grade} {side} scoliosis."),
    ),
    "Hyperinflation": (
        0.08,
        "Lung/hyperdistention/{grade}",
        ("The lungs are {grade}ly hyperinflated.", "{Grade} hyperinflation with flat diaphragms."),
    ),
    "Spine": (
        0.14,
        "Thoracic Vertebrae/degenerative/{grade}",
        ("{Grade} degenerative changes of the thoracic spine.", "There are {grade} degenerative changes of the spine."),
    ),
}

#: What a report says of an organ in which nothing was found, and the findings that silence it.
_NORMAL: tuple[tuple[frozenset[str], tuple[str, ...]], ...] = (
    (
        frozenset({"Cardiomegaly"}),
        ("The heart is normal in size.", "Heart size is within normal limits.", "The cardiac silhouette is normal."),
    ),
    (
        frozenset({"Opacity", "Atelectasis", "Nodule", "Edema", "Granuloma"}),
        ("The lungs are clear.", "No focal airspace disease.", "Both lungs are clear."),
    ),
    (
        frozenset({"Effusion", "Pneumothorax"}),
        ("No pleural effusion or pneumothorax.", "There is no effusion and no pneumothorax."),
    ),
    (frozenset({"Fracture", "Scoliosis", "Spine"}), ("The bones are intact.", "No bony abnormality.")),
)
_SIZES = ("small", "moderate", "large")


def sample_studies(count: int, *, seed: int = 0) -> tuple[Study, ...]:
    """`count` studies with sampled codes and reports, ids `PH000000` and up, split 70/10/20 by index; each depends on
    its index and `seed` alone."""
    return tuple(_sample_study(index, seed) for index in range(count))


def _sample_study(index: int, seed: int) -> Study:
    rng = np.random.default_rng([seed, index])
    codes, spoken = [], []
    sick = rng.random() > 0.3
    for name, (chance, code, sentences) in _GRAMMAR.items():
        if sick and rng.random() < chance:
            words = {
                "side": rng.choice(_SIDED),
                "grade": rng.choice(_GRADES),
                "place": rng.choice(_LOBES),
                "size": rng.choice(_SIZES),
            }
            words |= {word.capitalize(): value.capitalize() for word, value in words.items()}
            codes.append(code.format(**words))
            spoken.append((name, sentences[rng.integers(len(sentences))].format(**words)))
    findings = {name for name, _ in spoken}
    normal = [
        sentences[rng.integers(len(sentences))] for silenced_by, sentences in _NORMAL if not findings & silenced_by
    ]
    report = " ".join([*(sentence for _, sentence in spoken), *normal])
    return Study(
        f"PH{index:06d}",
        _split(index),
        report,
        tuple(parse_code(code) for code in codes or ["normal"]),
        ("frontal", "lateral"),
        "phantom",
    )


def _split(index: int) -> Split:
    return "train" if index % 10 < 7 else "val" if index % 10 < 8 else "test"
