"""The small extractor learns to see: which of the 13 drawn findings are in a study, from the images alone.

Each patch gets a logit per finding, and a study's logit is a soft maximum over the patches of its views:

    logit[f] = log mean_p exp(patch_logit[p, f])

A finding that is anywhere is then present, and the frozen feature of the patch where it lies tells it linearly. A
second head reads the mean patch:

    mean_logit[f] = w_f · mean_p patch[p] + b_f

and both are trained. A generator's attention begins by averaging all patches, so the findings had better be in the mean
too. Nothing here reads a report.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from sklearn.metrics import f1_score
from torch import Tensor, nn
from tqdm.auto import tqdm

from rrg_lib.data.study import DRAWN_FINDINGS
from rrg_lib.errors import CheckpointError, ConfigurationError
from rrg_lib.models.visual.extractor import VisualExtractor, VisualFeatures
from rrg_lib.models.visual.pretrained import read_tensors
from rrg_lib.runtime.device import on_device
from rrg_lib.runtime.hashing import content_hash
from rrg_lib.runtime.workspace import written_whole

FORMAT = "finding extractor 1"


@dataclass(frozen=True, slots=True)
class PretrainingProfile:
    """How long and how fast: AdamW under a one-cycle learning rate."""

    epochs: int
    batch_size: int = 16
    learning_rate: float = 4e-3
    weight_decay: float = 0.02

    def recipe(self, name: str) -> str:
        """6 hexadecimal digits of these settings and of the network's tensors."""
        with torch.device("meta"):  # shapes alone, without weights
            shapes = [[key, *tensor.shape] for key, tensor in FindingExtractor(name).state_dict().items()]
        return content_hash([asdict(self), shapes])[:6]


PRETRAINING = {
    "ci": PretrainingProfile(epochs=8),
    "study": PretrainingProfile(epochs=20, learning_rate=3e-3),  # as laptop: studies look through the same weights
    "laptop": PretrainingProfile(epochs=20, learning_rate=3e-3),
    "gpu": PretrainingProfile(epochs=60),
}


class FindingExtractor(nn.Module):
    """The small extractor with a head of one logit per finding and patch, and a threshold per finding chosen on
    validation studies."""

    def __init__(
        self, name: str = "small", findings: Sequence[str] = DRAWN_FINDINGS, weights: str | Path | None = None
    ):
        super().__init__()
        self.findings = tuple(findings)
        self.extractor = VisualExtractor(name, weights, frozen=False)
        self.head = nn.Linear(self.extractor.dim, len(self.findings))
        self.mean_head = nn.Linear(
            self.extractor.dim, len(self.findings)
        )  # trained beside `head`, for the features' sake; predictions are `head`'s
        for head in (self.head, self.mean_head):
            nn.init.constant_(head.bias, -2.0)  # findings are rare
        self.register_buffer("thresholds", torch.zeros(len(self.findings)))

    def forward(self, views: Tensor) -> Tensor:
        """(B, 13) logits of (B, V, H, W) uint8 views."""
        return self.pool(self.patch_logits(self.extractor(views)))

    def patch_logits(self, features: VisualFeatures) -> Tensor:
        """(B, V·P, 13): what each patch says of each finding; reshaped to 7 × 7 it is a heat map."""
        return self.head(features.patches)

    @staticmethod
    def pool(patch_logits: Tensor) -> Tensor:
        """(B, 13): the soft maximum over a study's patches."""
        return patch_logits.logsumexp(dim=1) - math.log(patch_logits.shape[1])

    def save(self, path: Path, metadata: dict[str, str] | None = None) -> None:
        """A safetensors file, written whole or not at all; `VisualExtractor(weights=path)` reads it too."""
        described = {
            "format": FORMAT,
            "name": self.extractor.name,
            "findings": json.dumps(self.findings),
            "hash": self.extractor.hash,
            **(metadata or {}),
        }
        with written_whole(Path(path)) as temporary:
            save_file({key: value.contiguous() for key, value in self.state_dict().items()}, temporary, described)

    @classmethod
    def load(cls, path: Path) -> FindingExtractor:
        """The saved model, in evaluation mode. Raises `CheckpointError` for any other file."""
        tensors, metadata = read_tensors(Path(path))
        if metadata.get("format") != FORMAT:
            raise CheckpointError(
                f"{path} is not a {FORMAT} (it says {metadata.get('format', 'nothing')!r}); train one with "
                f"rrg_lib.models.visual.finding_extractor"
            )
        model = cls(metadata["name"], json.loads(metadata["findings"]))
        try:
            model.load_state_dict(tensors)
        except RuntimeError as error:
            raise CheckpointError(f"{path} does not fit the extractor {metadata['name']!r}: {error}") from error
        return model.eval()


def is_finding_extractor(path: Path) -> bool:
    """Whether a safetensors file is a saved `FindingExtractor`, by what it says of itself. Raises `CheckpointError` for
    a damaged one."""
    return read_tensors(Path(path))[1].get("format") == FORMAT


@dataclass(frozen=True, slots=True)
class ExtractorScores:
    """Micro-F1 over all findings, F1 and number of positive studies of each."""

    micro_f1: float
    f1: dict[str, float]
    support: dict[str, int]


def train_finding_extractor(
    views: np.ndarray,
    labels: np.ndarray,
    *,
    validation: tuple[np.ndarray, np.ndarray],
    profile: PretrainingProfile = PRETRAINING["laptop"],
    epochs: int | None = None,
    seed: int = 0,
    start: FindingExtractor | None = None,
    progress: bool = True,
) -> FindingExtractor:
    """A `FindingExtractor` trained on `views` (n, V, H, W) uint8 and `labels` (n, F), thresholds chosen on
    `validation`; a function of `seed`. F is 13, or as many as `start` is to tell.

    Pictures are shifted, brightened and made noisier at random, never mirrored: the left must stay the left. `epochs`
    overrides the profile's. `start` is fine-tuned in place instead of a new small one; all pictures are held as it
    wants them (0.6 MB a view of 224 pixels).

    Raises:
        ConfigurationError: numbers of studies or findings that do not agree.
    """
    told = len(start.findings if start else DRAWN_FINDINGS)
    if len(views) != len(labels) or labels.shape[1] != told:
        raise ConfigurationError(
            f"views {views.shape} and labels {labels.shape} do not agree: expected (n, V, H, W) and (n, {told})"
        )
    epochs = epochs or profile.epochs
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = start or FindingExtractor()
    pixels, targets = transformed(model.extractor, views), torch.as_tensor(labels, dtype=torch.float32)
    generator = torch.Generator().manual_seed(seed)
    decayed, plain = [p for p in model.parameters() if p.ndim > 1], [p for p in model.parameters() if p.ndim <= 1]
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": profile.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    )
    steps = epochs * math.ceil(len(pixels) / profile.batch_size)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, profile.learning_rate, total_steps=steps, pct_start=0.2)
    weight = (
        (1 / targets.mean(dim=0).clamp(min=1 / len(targets))).sqrt().clamp(max=8)
    )  # (F,): a rare finding counts more
    with tqdm(total=steps, desc="finding extractor", unit="step", disable=not progress) as bar:
        for _ in range(epochs):
            model.train()
            for chosen in torch.randperm(len(pixels), generator=generator).split(profile.batch_size):
                batch = augmented(pixels[chosen], generator)  # (B, V, C, S, S)
                features = model.extractor.features(batch.flatten(0, 1), batch.shape[1])
                both = torch.stack(
                    [model.pool(model.patch_logits(features)), model.mean_head(features.patches.mean(dim=1))]
                )  # (2, B, F)
                loss = F.binary_cross_entropy_with_logits(both, targets[chosen].expand_as(both), pos_weight=weight)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                schedule.step()
                bar.update()
                bar.set_postfix(loss=f"{loss.item():.3f}", refresh=False)
    model.eval()
    model.thresholds = choose_thresholds(finding_logits(model, validation[0]), validation[1])
    return model


@torch.no_grad()
def transformed(extractor: VisualExtractor, views: np.ndarray, batch_size: int = 128) -> Tensor:
    """(n, V, C, S, S) of (n, V, H, W) uint8: the transform done once, not once an epoch."""
    parts = [
        extractor.transform(torch.from_numpy(np.array(views[i : i + batch_size])))
        for i in range(0, len(views), batch_size)
    ]
    return torch.cat(parts).unflatten(0, (len(views), views.shape[1]))


def augmented(pixels: Tensor, generator: torch.Generator, *, shift: int = 5) -> Tensor:
    """(B, V, C, S, S): each view shifted by up to `shift` pixels, its contrast, brightness and noise changed."""
    flat = pixels.flatten(0, 1)
    size = flat.shape[-1]
    padded = F.pad(flat, [shift] * 4, mode="replicate")
    corners = torch.randint(0, 2 * shift + 1, (len(flat), 2), generator=generator).tolist()
    moved = torch.stack(
        [picture[:, y : y + size, x : x + size] for picture, (y, x) in zip(padded, corners, strict=True)]
    )
    gain = 1 + 0.15 * (2 * torch.rand(len(flat), 1, 1, 1, generator=generator) - 1)
    offset = 0.2 * (2 * torch.rand(len(flat), 1, 1, 1, generator=generator) - 1)
    noise = 0.05 * torch.randn(moved.shape, generator=generator)
    return (gain * moved + offset + noise).reshape(pixels.shape)


@torch.no_grad()
def finding_logits(model: FindingExtractor, views: np.ndarray, batch_size: int = 64) -> Tensor:
    """(n, 13) logits of (n, V, H, W) uint8 views."""
    model.eval()
    with on_device(model) as device:
        parts = [
            model(torch.from_numpy(np.array(views[i : i + batch_size])).to(device)).cpu()
            for i in range(0, len(views), batch_size)
        ]
    return torch.cat(parts)


def choose_thresholds(logits: Tensor, labels: np.ndarray, *, rounds: int = 8) -> Tensor:
    """(13,): the thresholds of the logits that together give the best micro-F1 on these studies.

    Micro-F1 is a ratio of sums, 2·TP / (predicted + positive), so by Dinkelbach's method each finding may choose alone:
    given the best F so far, the threshold that makes 2·TP - F·predicted largest. A finding that the model cannot see is
    then never predicted rather than always.
    """
    truth = torch.as_tensor(np.asarray(labels), dtype=torch.float64)  # (n, 13)
    scores, order = logits.double().sort(dim=0, descending=True)
    hits = truth.gather(0, order).cumsum(dim=0)  # (n, 13): TP when the first 1, 2, ... studies are predicted
    predicted = torch.arange(1, len(truth) + 1, dtype=torch.float64)[:, None]
    below = torch.cat([scores[1:], scores[-1:] - 2])
    cuts = torch.cat(
        [scores[:1] + 1, (scores + below) / 2]
    )  # (n + 1, 13): above all studies, then halfway between one and the next
    best = 0.5
    for _ in range(rounds):
        gain = torch.cat([torch.zeros(1, truth.shape[1]), 2 * hits - best * predicted])  # (n + 1, 13)
        number = gain.argmax(dim=0)  # how many studies each finding predicts
        taken = torch.cat([torch.zeros(1, truth.shape[1]), hits]).gather(0, number[None]).sum()
        best = float(2 * taken / (number.sum() + truth.sum()).clamp(min=1))
    return cuts.gather(0, number[None])[0].float()


def finding_scores(model: FindingExtractor, views: np.ndarray, labels: np.ndarray) -> ExtractorScores:
    """F1 of the model's findings on (n, V, H, W) views with (n, 13) labels, at the thresholds it carries."""
    predicted = (finding_logits(model, views) >= model.thresholds).numpy()
    labels = np.asarray(labels).astype(bool)
    each = f1_score(labels, predicted, average=None, zero_division=0)
    return ExtractorScores(
        micro_f1=float(f1_score(labels, predicted, average="micro", zero_division=0)),
        f1={name: float(value) for name, value in zip(model.findings, each, strict=True)},
        support={name: int(value) for name, value in zip(model.findings, labels.sum(axis=0), strict=True)},
    )


def profile_metadata(profile: PretrainingProfile, seed: int) -> dict[str, str]:
    """How an extractor was trained, for `FindingExtractor.save`."""
    return {"profile": json.dumps(asdict(profile), sort_keys=True), "seed": str(seed)}
