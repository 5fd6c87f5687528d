"""What an extractor can learn from reports alone."""

from __future__ import annotations

import pytest

from rrg_lib.errors import ConfigurationError
from rrg_lib.experiments.extractors import build_extractor
from rrg_lib.experiments.presets import ExtractorConfig
from rrg_lib.models.visual import report_words
from rrg_lib.models.visual.finding_extractor import PRETRAINING, PretrainingProfile, is_finding_extractor


def test_words_and_pairs_in_two_to_fifty_percent_of_the_reports_are_targets():
    reports = ["no effusion ."] * 40 + ["large effusion ."] * 20 + ["clear lungs ."] * 39 + ["a mass ."]
    words = report_words.target_words(reports)
    assert words == ("no", "no effusion", "clear", "clear lungs", "lungs", "lungs .", "large", "large effusion")
    told = report_words.word_indicators(["large effusion ."], words)
    assert told.tolist() == [[0, 0, 0, 0, 0, 0, 1, 1]]


def test_reports_that_share_nothing_or_everything_are_refused():
    with pytest.raises(ConfigurationError, match="no word stands in 2% to 50%"):
        report_words.target_words(["the same"] * 10)


def test_an_extractor_of_reports_is_kept_without_a_head(tmp_path, monkeypatch):
    from rrg_lib.data.prepare import prepare

    monkeypatch.setenv("RRG_HOME", str(tmp_path))
    monkeypatch.setitem(PRETRAINING, "ci", PretrainingProfile(epochs=1))
    dataset = prepare("phantom", count=40, workers=1, progress=False)
    config = ExtractorConfig("small", "reports", frozen=True)
    extractor = build_extractor(config, dataset, "ci", progress=False)
    (path,) = (tmp_path / "extractors").glob("small-reports-ci-*.safetensors")
    assert not is_finding_extractor(path)  # no one takes it for a classifier of findings
    before = path.stat().st_mtime_ns
    assert build_extractor(config, dataset, "ci", progress=False).hash == extractor.hash
    assert path.stat().st_mtime_ns == before
    assert extractor.hash != build_extractor(ExtractorConfig("small", None, True), dataset, "ci").hash
