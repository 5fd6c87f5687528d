"""The expert codes of the Indiana University collection (MeSH headings with qualifiers) as findings. Reading a code
needs the table of findings and nothing else."""

from __future__ import annotations

from functools import cache, lru_cache

from rrg_lib.data.study import SEVERITIES, SIDES, Finding
from rrg_lib.runtime.package_data import table


@cache
def _finding_map() -> dict[tuple[str, str], tuple[str | None, str | None]]:
    """(MeSH head, qualifier or "") -> (drawn finding, CheXpert observation), from `data/mesh_findings.csv`."""
    rows = table("mesh_findings")
    return {
        (row["mesh_head"], row["with_qualifier"]): (row["drawn_finding"] or None, row["chexpert_observation"] or None)
        for row in rows
    }


@lru_cache(2**16)  # one finding for all studies that have it: most of what a hundred thousand studies would hold
def parse_code(code: str) -> Finding:
    """A MeSH code such as `Opacity/lung/base/left/mild` as a `Finding`; heads outside the map keep `drawn` and
    `observation` None."""
    head, *qualifiers = (part.strip() for part in code.split("/"))
    names = _finding_map()
    drawn, observation = names.get((head, ""), (None, None))
    for qualifier in qualifiers:
        drawn, observation = names.get((head, qualifier), (drawn, observation))
    side = next((q for q in qualifiers if q in SIDES), None)
    severity = next((q for q in qualifiers if q in SEVERITIES), None)
    place = tuple(q for q in qualifiers if q not in SIDES and q not in SEVERITIES)
    return Finding(
        code=code, head=head, drawn=drawn, observation=observation, place=place, side=side, severity=severity
    )
