"""A toy data set for tests of training and decoding: patches that determine the words to say. Also a program that
trains on it, to be killed."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch

from rrg_lib.models.batches import StudyBatches
from rrg_lib.models.decoding import DecodingConfig
from rrg_lib.models.generator import ReportGenerator, TransformerConfig
from rrg_lib.models.interface import Batch
from rrg_lib.models.memory import CMNConfig, MemoryConfig
from rrg_lib.training import Trainer, TrainingConfig

WORDS, PATCHES, D_VF = 12, 6, 10
CONFIG = TransformerConfig(
    vocab_size=WORDS, d_vf=D_VF, d_model=32, d_ff=32, heads=2, layers=1, feature_dropout=0.1, max_length=8
)
MEMORY = CMNConfig(slots=9, top_k=3)


class ToyDataset:
    """Study i shows two of D_VF things and its report names them in order: what a model that looks can learn and one
    that doesn't cannot."""

    def __init__(self, size: int = 40):
        rng = np.random.default_rng(3)
        self.ids = [f"toy{i}" for i in range(size)]
        things = [sorted(rng.choice(D_VF, 2, replace=False) + 1) for _ in range(size)]
        self.observations = np.zeros((size, 14), dtype=np.uint8)
        self._tokens = [[0, *map(int, pair), 11, 0] for pair in things]
        self._patches = rng.normal(0, 0.1, (size, PATCHES, D_VF)).astype(np.float32)
        for patches, pair in zip(self._patches, things, strict=True):
            patches[rng.integers(PATCHES), pair[0] - 1] += 3
            patches[rng.integers(PATCHES), pair[1] - 1] += 3

    def tokens(self, i: int) -> list[int]:
        return self._tokens[i]

    def patches(self, i: int) -> np.ndarray:
        return self._patches[i]

    def batches(self) -> StudyBatches:
        return StudyBatches(self, range(len(self.ids)), self.patches)


def generator(memory: MemoryConfig | None = MEMORY, seed: int = 0) -> ReportGenerator:
    torch.manual_seed(seed)
    return ReportGenerator(CONFIG, memory)


def brute_force(model, patches: torch.Tensor, config: DecodingConfig) -> tuple[list[list[int]], list[float]]:
    """Beam search the slow way: one study, whole prefixes, no state, no early stop. The best report of each study,
    padded with 0, and its score."""
    best, scores = [], []
    for study in patches:
        live, finished = [((), 0.0)], []
        for t in range(1, config.max_length + 1):
            candidates = []
            for words, total in live:
                tokens = torch.tensor([[0, *words, 0]])  # the last is cut off by teacher forcing
                logits = model(Batch(study[None], tokens, torch.ones_like(tokens))).logits[0, -1].clone()
                logits[0] += config.end_bias
                candidates += [((*words, i), total + lp) for i, lp in enumerate(logits.log_softmax(-1).tolist())]
            live = sorted(candidates, key=lambda c: -c[1])[: config.beam_size]
            finished += [(w, s / config.penalty(t)) for w, s in live if w[-1] == 0 or t == config.max_length]
            live = [(w, s) for w, s in live if w[-1] != 0]
            if not live:
                break
        words, score = max(finished, key=lambda f: f[1])
        best.append([*words, *[0] * (config.max_length - len(words))])
        scores.append(score)
    return best, scores


def trainer(folder: Path, score=None, **settings) -> Trainer:
    config = TrainingConfig(
        **{"epochs": 3, "batch_size": 8, "lr": 5e-3, "monitor": {"validation_loss": -1.0}, "save_every": 2, **settings}
    )
    data = ToyDataset().batches()
    identity = {"preset": "toy/cmn"}
    return Trainer(
        generator(),
        data.loader(config.batch_size, seed=1, shuffle=True),
        data.loader(16),
        config,
        folder,
        score=score,
        identity=identity,
        progress=False,
    )


if __name__ == "__main__":  # python tests/toy.py FOLDER: prints each step, so that the test can kill it at one
    run = trainer(Path(sys.argv[1]), epochs=4)
    train_step = run._train_step

    def announced(batch):
        loss = train_step(batch)
        print("step", run.step, flush=True)
        return loss

    run._train_step = announced
    run.fit()
    print("done", flush=True)
