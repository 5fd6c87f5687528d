"""A program for `torchrun`: trains a toy system with any number of processes and writes down each step's loss and the
reports it wrote.

python -m torch.distributed.run --nproc_per_node 2 tests/distributed_toy.py FOLDER SYSTEM EPOCHS [--die]
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from toy import CONFIG, MEMORY, ToyDataset

from rrg_lib.experiments.reports import write_reports
from rrg_lib.models.batches import StudyBatches
from rrg_lib.models.decoding import DecodingConfig
from rrg_lib.models.generator import ReportGenerator
from rrg_lib.models.memory import MCSAMConfig, XProNetConfig
from rrg_lib.models.pair_alignment import PairConfig
from rrg_lib.runtime.distributed import this_process
from rrg_lib.training import Trainer, TrainingConfig

QUIET = replace(CONFIG, dropout=0.0, feature_dropout=0.0)
SYSTEMS = {
    "cmn": (replace(MEMORY, dropout=0.0), None),
    "xpronet": (XProNetConfig(prototypes=3, gamma=4, image_dim=5, text_dim=5, dropout=0.0), None),
    "mcsam": (MCSAMConfig(slots=9, top_k=3, alignment_dim=8, memory_tokens=2, dropout=0.0), None),
    "pair": (replace(MEMORY, dropout=0.0), PairConfig()),
}
#: 33 studies in batches of 8: the last batch has one study, and one of two processes none.
STUDIES, BATCH = 33, 8


class Uneven(ToyDataset):
    """Reports of different lengths and labels, so that neither padding nor the pairs of a batch are the same for every
    process."""

    def __init__(self):
        super().__init__(STUDIES)
        rng = np.random.default_rng(5)
        self._tokens = [[*tokens[:-1], *rng.integers(1, 11, rng.integers(0, 4)), 0] for tokens in self._tokens]
        self.observations[np.arange(STUDIES), rng.integers(0, 3, STUDIES)] = 1


class Words:
    def decode(self, ids):
        return " ".join(str(i) for i in ids if i)


def main(folder: str, system: str, epochs: str, *flags: str) -> None:
    torch.manual_seed(0)
    memory, pair = SYSTEMS[system]
    generator = ReportGenerator(QUIET, memory, pair=pair)
    share = this_process()
    batches = StudyBatches(data := Uneven(), range(STUDIES), data.patches, share=share)
    settings = {
        "batch_size": BATCH,
        "lr": 2e-3,
        "monitor": {"validation_loss": -1.0},
        "save_every": 3,
        "schedule": "constant",
    }
    config = TrainingConfig(epochs=int(epochs), **settings)
    loaders = (batches.loader(BATCH, seed=1, shuffle=True), batches.loader(BATCH))
    trainer = Trainer(generator, *loaders, config, Path(folder), identity={"preset": f"toy/{system}"}, progress=False)
    losses, step = [], trainer._train_step

    def noted(batch):
        losses.append(step(batch))
        if "--die" in flags and share.rank == 1 and len(losses) == 3:
            os._exit(7)
        return losses[-1]

    trainer._train_step = noted
    result = trainer.fit()
    reports = write_reports(trainer.plain, batches, Words(), DecodingConfig(beam_size=2, max_length=QUIET.max_length))
    if share.rank == 0:
        found = {
            "losses": losses,
            "history": [row["validation_loss"] for row in result.history],
            "reports": reports,
            "processes": share.count,
        }
        (Path(folder) / "found.json").write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
