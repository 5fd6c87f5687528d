"""Claims that need no training: counted parameters, the arithmetic of printed tables, Table 1 against the reports
themselves.

Each check recomputes what a paper states and says how it compares. They run in seconds, without images, and tests hold
them to their numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from statistics import fmean

import torch

from rrg_lib.data.iu_xray import records, studies
from rrg_lib.data.study import SPLITS
from rrg_lib.data.text.cleaning import clean_r2gen
from rrg_lib.errors import UnknownNameError
from rrg_lib.models.generator import ReportGenerator, TransformerConfig
from rrg_lib.models.memory import CMNConfig, MemoryConfig
from rrg_lib.replication.printed_values import (
    Published,
    Quantity,
    compare_rows,
    published,
    relative_gain,
    same_elsewhere,
    values_of,
)
from rrg_lib.replication.verdicts import Numbers, Verdict

CMN, XPRONET, STUDENT = "R2GenCMN (ACL 2021)", "XProNet (ECCV 2022)", "Student paper (FAST NU 2024)"
NLG = ("BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "METEOR", "ROUGE-L")
#: Tokens of MIMIC-CXR's vocabulary at threshold 10 in the released configurations.
MIMIC_VOCABULARY = 4253
#: All reports of MIMIC-CXR that the CMN paper's text counts.
MIMIC_REPORTS_IN_TEXT = 206_563
#: And all images.
MIMIC_IMAGES_IN_TEXT = 473_057


@dataclass(frozen=True)
class Exact:
    """What a check came to: its verdict, our numbers, and why."""

    verdict: Verdict
    ours: Numbers
    why: str


CHECKS: dict[str, Callable[[], Exact]] = {}


def exact(check: Callable[[], Exact]) -> Callable[[], Exact]:
    """Registers a check under its function's name, computed once."""
    CHECKS[check.__name__] = cached = cache(check)
    return cached


def run_check(name: str) -> Exact:
    """The result of one check. Raises `UnknownNameError`."""
    if name not in CHECKS:
        raise UnknownNameError("exact check", name, CHECKS)
    return CHECKS[name]()


# --- parameters -------------------------------------------------------------------------------------------------------


@cache
def parameters(memory: MemoryConfig | None, *, vocabulary: int = MIMIC_VOCABULARY, classifier: bool = False) -> int:
    """Learnt numbers of a published generator with its ResNet-101, counted on the meta device: nothing is allocated.
    `classifier` counts the ImageNet classifier too, which the released extractor drops."""
    with torch.device("meta"):
        generator = ReportGenerator(TransformerConfig(vocab_size=vocabulary), memory)
    features, dropped = _resnet()
    return _count(generator) + features + (dropped if classifier else 0)


@cache
def _resnet() -> tuple[int, int]:
    """Learnt numbers of a ResNet-101 without its classifier, and of the classifier."""
    from torchvision.models import resnet101

    with torch.device("meta"):
        network = resnet101(weights=None)
    return _count(network) - _count(network.fc), _count(network.fc)


def _count(module: torch.nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def memory_cost(slots: int = 4096) -> dict[str, float]:
    """What `slots` memory vectors add, in per cent, by every reading of "extra parameters" that we could think of."""
    matrix = slots * TransformerConfig().d_model
    base, released = parameters(None), parameters(CMNConfig())
    return {
        "everything CMN adds, over BASE": 100 * (parameters(CMNConfig(slots=slots)) - base) / base,
        "the matrix alone, over BASE": 100 * matrix / base,
        "the matrix alone, over BASE with the classifier that its ResNet-101 drops": 100
        * matrix
        / parameters(None, classifier=True),
        f"the matrix alone, over CMN with {CMNConfig().slots:,} slots": 100 * matrix / released,
        "the matrix alone, over BASE without its ResNet-101": 100 * matrix / (base - _resnet()[0]),
    }


@exact
def parameters_of_4096_slots() -> Exact:
    (printed,) = (value for value in published() if value.quantity is Quantity.PARAMETERS)
    percent_of = memory_cost()
    inside = [name for name, percent in percent_of.items() if printed.low <= percent <= printed.high]
    cut = [name for name, percent in percent_of.items() if math.floor(100 * percent) / 100 == printed.value]
    readings = "; ".join(f"{name} {percent:.3f} %" for name, percent in percent_of.items())
    why = f"printed {printed.value} %; counted with the vocabulary of MIMIC-CXR: {readings}"
    if cut and not inside:
        why += f"; none rounds to the printed figure, cut off after two digits it is {' or '.join(cut)}"
    return Exact(
        Verdict.REPRODUCED if inside else Verdict.NOT_REPRODUCED,
        Numbers("{added:.2f} %", {"added": next(iter(percent_of.values()))}),
        why,
    )


# --- the arithmetic of the tables -------------------------------------------------------------------------------------


def average_gain(dataset: str, system: str) -> Exact:
    """CMN Table 2's "average gain over BASE" from its own columns: the mean relative gain over the NLG metrics."""
    row, base = (values_of(CMN, "Table 2", dataset, name) for name in (system, "BASE"))
    printed = row["average gain over BASE, %"]
    value, low, high = relative_gain(row, base, NLG)
    agrees = low <= printed.high and high >= printed.low
    return Exact(
        Verdict.CONSISTENT if agrees else Verdict.CONTRADICTED,
        Numbers("{gain:.1f} %", {"gain": value}),
        f"mean gain over {len(NLG)} NLG metrics {value:.2f} %, from {low:.2f} to {high:.2f} % with the rounding; "
        f"printed {printed.value} %",
    )


@exact
def average_gains_of_table_2() -> Exact:
    checks = {
        (dataset, system): average_gain(dataset, system)
        for dataset in ("iu_xray", "mimic_cxr")
        for system in ("BASE+MEM", "CMN")
    }
    verdict = (
        Verdict.CONSISTENT
        if all(check.verdict == Verdict.CONSISTENT for check in checks.values())
        else Verdict.CONTRADICTED
    )
    return Exact(
        verdict,
        Numbers(
            ", ".join(f"{{{dataset} {system}:.1f}} %" for dataset, system in checks),
            {f"{dataset} {system}": check.ours["gain"] for (dataset, system), check in checks.items()},
        ),
        "; ".join(f"{d}, {s}: {check.why}" for (d, s), check in checks.items()),
    )


def _gains(system: str) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    of = lambda dataset: relative_gain(*(values_of(CMN, "Table 2", dataset, name) for name in (system, "BASE")), NLG)  # noqa: E731
    return of("iu_xray"), of("mimic_cxr")


def _gains_most(dataset: str) -> Exact:
    iu, mimic = _gains("CMN")
    most, other = (iu, mimic) if dataset == "iu_xray" else (mimic, iu)
    mem_iu, mem_mimic = _gains("BASE+MEM")
    return Exact(
        Verdict.CONTRADICTED if most[2] < other[1] else Verdict.CONSISTENT,
        Numbers("IU X-Ray {iu_xray:.1f} %, MIMIC-CXR {mimic_cxr:.1f} %", {"iu_xray": iu[0], "mimic_cxr": mimic[0]}),
        f"CMN gains {iu[0]:.1f} % on IU X-Ray and {mimic[0]:.1f} % on MIMIC-CXR; BASE+MEM {mem_iu[0]:.1f} and "
        f"{mem_mimic[0]:.1f} %",
    )


@exact
def iu_xray_gains_most() -> Exact:
    return _gains_most("iu_xray")


@exact
def mimic_cxr_gains_most() -> Exact:
    return _gains_most("mimic_cxr")


def _loses(system: str, stated: float) -> Exact:
    whole, without = (values_of(XPRONET, "Table 2", "iu_xray", name)["BLEU-4"] for name in ("XProNet", system))
    loss, slack = whole.value - without.value, whole.half + without.half
    agrees = abs(loss - stated) <= slack + 1e-9
    return Exact(
        Verdict.CONSISTENT if agrees else Verdict.CONTRADICTED,
        Numbers("{loss:.3f}", {"loss": loss}),
        f"{whole.value:.3f} - {without.value:.3f} = {loss:.3f} ± {slack:.3f}",
    )


@exact
def prototypes_without_initialisation_lose() -> Exact:
    return _loses("w/o PI", 0.039)


@exact
def xpronet_gains_on_iu_xray() -> Exact:
    """XProNet, section 4: so many points above the best earlier row of Table 1 in three metrics."""
    whole = values_of(XPRONET, "Table 1", "iu_xray", "XProNet")
    gains, shown, agree = {}, [], True
    for metric, stated in (("BLEU-1", 4.3), ("BLEU-4", 3.1), ("ROUGE-L", 4.1)):
        best = max(_earlier("iu_xray", metric), key=lambda value: value.value)
        points, slack = 100 * (whole[metric].value - best.value), 100 * (whole[metric].half + best.half)
        agree &= abs(points - stated) <= slack + 0.05 + 1e-9
        gains[metric] = points
        shown.append(f"{metric} {points:.1f} above {best.system} (stated {stated})")
    return Exact(
        Verdict.CONSISTENT if agree else Verdict.CONTRADICTED,
        Numbers("; ".join(f"{metric} {{{metric}:.1f}}" for metric in gains), gains),
        "; ".join(shown),
    )


def _earlier(dataset: str, metric: str) -> list[Published]:
    """The other rows of XProNet's Table 1 that print a metric."""
    rows = [v for v in published() if (v.paper, v.where, v.dataset, v.metric) == (XPRONET, "Table 1", dataset, metric)]
    return [value for value in rows if value.system != "XProNet"]


@exact
def xpronet_is_best_but_for_bleu_1() -> Exact:
    whole = values_of(XPRONET, "Table 1", "mimic_cxr", "XProNet")
    above = {
        metric: all(value.high >= other.low for other in _earlier("mimic_cxr", metric))
        for metric, value in whole.items()
    }
    beaten = [metric for metric, best in above.items() if not best]
    return Exact(
        Verdict.CONSISTENT if set(beaten) <= {"BLEU-1"} else Verdict.CONTRADICTED,
        Numbers(f"not best in {', '.join(beaten)}", {"metrics": len(beaten)}),
        f"not the best row in {', '.join(beaten)}",
    )


@exact
def cmpnet_is_missed_most() -> Exact:
    """XProNet, section 4: of the three things left out in Table 2, CMPNet is missed most, in all metrics."""
    names, against = ("w/o PI", "w/o IMLCS"), []
    for dataset in ("iu_xray", "mimic_cxr"):
        least = values_of(XPRONET, "Table 2", dataset, "w/o CMPNet")
        others = [(name, values_of(XPRONET, "Table 2", dataset, name)) for name in names]
        against += [f"{dataset}, {metric}: {v.text} without CMPNet, {row[metric].text} "
                    f"{name}" for name, row in others for metric, v in least.items()
                    if metric in row and row[metric].high < v.low]  # fmt: skip
    shown = "; ".join(against) or "w/o CMPNet is the lowest row in every metric"
    return Exact(
        Verdict.CONTRADICTED if against else Verdict.CONSISTENT,
        Numbers("{against} against", {"against": len(against)}),
        shown,
    )


@exact
def focal_loss_raises_precision() -> Exact:
    """Student paper, Table 4: with focal loss against without."""
    one, two = (values_of(STUDENT, "Table 4", "iu_xray", f"{how} focal loss") for how in ("with", "without"))
    points = {metric: 100 * (one[metric].value - two[metric].value) for metric in one}
    shown = "; ".join(f"{metric} {by:+.2f} points" for metric, by in points.items())
    return Exact(
        Verdict.CONSISTENT if points["weighted precision"] > 0 else Verdict.CONTRADICTED,
        Numbers("{points:+.2f}", {"points": points["weighted precision"]}),
        shown,
    )


@exact
def gamma_15_is_the_best_printed() -> Exact:
    best, more = (values_of(XPRONET, "Figure 5", "iu_xray", f"gamma={g}")["BLEU-4"] for g in (15, 17))
    table = values_of(XPRONET, "Table 1", "iu_xray", "XProNet")["BLEU-4"]
    agrees = best.value > more.value and best.value == table.value
    return Exact(
        Verdict.CONSISTENT if agrees else Verdict.CONTRADICTED,
        Numbers("{best:.3f}", {"best": best.value}),
        f"gamma 15 {best.value:.3f}, as Table 1; gamma 17 {more.value:.3f}",
    )


@exact
def xpronet_is_comparable_on_mimic_cxr() -> Exact:
    """XProNet Table 1: against its own rerun of CMN on MIMIC-CXR. Comparable: better in some metrics and worse in
    others, or not told apart."""
    compared = compare_rows(
        *(values_of(XPRONET, "Table 1", "mimic_cxr", name) for name in ("XProNet", "R2GenCMN, replicated"))
    )
    one_sided = bool(compared.above) != bool(compared.below) and not compared.equal
    return Exact(
        Verdict.CONTRADICTED if one_sided else Verdict.CONSISTENT,
        Numbers("{above} above, {below} below", {"above": len(compared.above), "below": len(compared.below)}),
        f"XProNet is {compared}",
    )


def quotations(paper: str) -> Exact:
    """Every number that a paper prints a second time, or that an earlier paper printed, against where it stands
    first."""
    pairs = [
        (value, first) for value in published() if value.paper == paper and (first := same_elsewhere(value)) is not None
    ]
    differ = [(value, first) for value, first in pairs if abs(value.value - first.value) > value.half + first.half]
    shown = "; ".join(
        f"{v.where}, {v.dataset}, {v.system}, {v.metric}: {v.value} for {f.value} of {f.place}" for v, f in differ
    )
    verdict = Verdict.CONTRADICTED if differ else Verdict.CONSISTENT
    return Exact(
        verdict,
        Numbers("{equal} of {all} equal", {"equal": len(pairs) - len(differ), "all": len(pairs)}),
        shown or "no number that is printed twice differs",
    )


@exact
def quotations_of_xpronet() -> Exact:
    return quotations(XPRONET)


@exact
def quotations_of_the_student_paper() -> Exact:
    return quotations(STUDENT)


# --- Table 1 ----------------------------------------------------------------------------------------------------------


@cache
def iu_xray_statistics() -> dict[tuple[str, str], float]:
    """CMN Table 1 for IU X-Ray, of the split that its released code reads: (split, what) -> number; lengths in tokens,
    full stops counted."""
    numbers: dict[tuple[str, str], float] = {}
    for split in SPLITS:
        of = studies(split)
        numbers |= {
            (split, "images"): sum(len(study.views) for study in of),
            (split, "reports"): len(of),
            (split, "patients"): len(of),
            (split, "average report length, words"): fmean(len(clean_r2gen(study.report).split()) for study in of),
        }
    return numbers


#: How the paper divides the collection, in tenths.
_TENTHS = {"train": 7, "val": 1, "test": 2}


def table_1(printed: Published) -> Exact | None:
    """One value of CMN Table 1; None for one that needs data we do not have."""
    if printed.dataset == "mimic_cxr":
        if (printed.system, printed.metric) != ("train", "reports"):
            return None
        verdict = Verdict.CONTRADICTED if printed.low > MIMIC_REPORTS_IN_TEXT else Verdict.CONSISTENT
        return Exact(
            verdict,
            Numbers("–", {}),
            f"the same paper's text counts {MIMIC_REPORTS_IN_TEXT:,} reports in all splits together",
        )
    ours = iu_xray_statistics()[printed.system, printed.metric]
    agrees = printed.low <= ours <= printed.high
    mean_length = printed.quantity is Quantity.LENGTH
    why = (
        f"the split that the released code reads has {ours:,.1f}" if mean_length else f"the released split has {ours:,}"
    )
    whole = {
        "reports": len(records()),
        "patients": len(records()),
        "images": sum(len(record.images) for record in records().values()),
    }
    if not agrees and printed.metric in whole:
        share = whole[printed.metric] * _TENTHS[printed.system] / 10
        if printed.low <= share <= printed.high:
            why += (
                f"; the printed figure is {_TENTHS[printed.system]}/10 of all {whole[printed.metric]:,} "
                f"{printed.metric} of the collection,"
            )
            why += " before those without findings or a second view are left out"
    return Exact(
        Verdict.REPRODUCED if agrees else Verdict.NOT_REPRODUCED,
        Numbers("{ours:,.1f}" if mean_length else "{ours:,}", {"ours": ours}),
        why,
    )


@exact
def table_1_of_iu_xray() -> Exact:
    values = [
        value for value in published() if (value.paper, value.where, value.dataset) == (CMN, "Table 1", "iu_xray")
    ]
    agree = [value for value in values if table_1(value).verdict == Verdict.REPRODUCED]
    sizes = ", ".join(f"{iu_xray_statistics()[split, 'reports']:,}" for split in SPLITS)
    verdict = Verdict.REPRODUCED if len(agree) == len(values) else Verdict.NOT_REPRODUCED
    return Exact(
        verdict,
        Numbers("{agree} of {all} values", {"agree": len(agree), "all": len(values)}),
        f"the released split has {sizes} reports with two views each",
    )


@exact
def mimic_cxr_reports_in_text() -> Exact:
    rows = [
        value
        for value in published()
        if (value.where, value.dataset, value.metric) == ("Table 1", "mimic_cxr", "reports")
    ]
    low, total = sum(value.low for value in rows), sum(value.value for value in rows)
    verdict = Verdict.CONTRADICTED if low > MIMIC_REPORTS_IN_TEXT else Verdict.CONSISTENT
    train = rows[0].value
    return Exact(
        verdict,
        Numbers("{total:,.0f}", {"total": total}),
        f"Table 1 counts {train:,.0f} for training and {total:,.0f} in all; the text counts {MIMIC_REPORTS_IN_TEXT:,} "
        f"in all",
    )


@exact
def mimic_cxr_images_in_text() -> Exact:
    printed = [
        v for v in published() if (v.paper, v.where, v.dataset, v.metric) == (CMN, "Table 1", "mimic_cxr", "images")
    ]
    low, high = sum(value.low for value in printed), sum(value.high for value in printed)
    verdict = Verdict.CONSISTENT if low <= MIMIC_IMAGES_IN_TEXT <= high else Verdict.CONTRADICTED
    total = sum(value.value for value in printed)
    return Exact(
        verdict,
        Numbers("{total:,.0f}", {"total": total}),
        f"Table 1 counts {total:,.0f} images in all splits; the text {MIMIC_IMAGES_IN_TEXT:,}",
    )


@exact
def mimic_cxr_is_almost_50_times_larger() -> Exact:
    """XProNet: of what is not said, so by everything that CMN's Table 1 counts. "Almost 50" is what lies between 45 and
    50."""
    readings = {}
    for metric in ("images", "reports", "patients"):
        of = {
            data: [v for v in published() if (v.where, v.dataset, v.metric) == ("Table 1", data, metric)]
            for data in ("mimic_cxr", "iu_xray")
        }
        ends = [
            sum(getattr(v, a) for v in of["mimic_cxr"]) / sum(getattr(v, b) for v in of["iu_xray"])
            for a, b in (("low", "high"), ("high", "low"))
        ]
        readings[metric] = ends
    agree = [metric for metric, (low, high) in readings.items() if low <= 50 and high >= 45]
    shown = "; ".join(f"by {metric} {low:.0f} to {high:.0f} times" for metric, (low, high) in readings.items())
    return Exact(
        Verdict.CONSISTENT if agree else Verdict.CONTRADICTED,
        Numbers(
            "; ".join(f"{metric} {{{metric}:.0f}}" for metric in readings),
            {metric: sum(ends) / 2 for metric, ends in readings.items()},
        ),
        shown,
    )


# --- one training step ------------------------------------------------------------------------------------------------


@exact
def slots_that_a_step_changes() -> Exact:
    """CMN, section 4.3, calls the update of the memory sparse. One step of the released setting on made features: how
    many slots get a gradient, how many move. It does not need real ones: at its start the memory is read nearly alike
    by whatever asks."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        memory = CMNConfig().build(TransformerConfig().d_model, TransformerConfig().heads)
        (matrix,) = memory.matrices.values()
        before = matrix.detach().clone()
        optimizer = torch.optim.Adam(
            memory.parameters(), lr=5e-4, betas=(0.9, 0.98), eps=1e-9, weight_decay=5e-5, amsgrad=True
        )
        answers = memory.respond(torch.randn(4, 98, TransformerConfig().d_model), memory.slots(None, "image")).vectors
        answers.square().mean().backward()
        asked = int((matrix.grad.abs().sum(dim=1) > 0).sum())
        optimizer.step()
        moved = int((matrix != before).any(dim=1).sum())
    n = len(before)
    why = (
        f"of {n:,} slots {asked:,} get a gradient from a batch of 4 studies at the start, and {moved:,} "
        f"move, "
        f"because weight decay moves all"
    )
    return Exact(
        Verdict.NOT_REPRODUCED if moved > n / 2 else Verdict.REPRODUCED,
        Numbers("{moved:.0%}", {"moved": moved / n}),
        why,
    )


def check_value(printed: Published) -> Exact | None:
    """What can be checked of one printed value without training anything; None when nothing can."""
    if printed.where == "Table 1" and printed.paper == CMN:
        return table_1(printed)
    if printed.quantity is Quantity.GAIN:
        return average_gain(printed.dataset, printed.system)
    if printed.quantity is Quantity.PARAMETERS:
        return parameters_of_4096_slots()
    return None
