"""Command lines that cannot be meant: each is refused before anything is made, in one message that says what is wrong
and what may be, with exit status 2 and without a traceback."""

from __future__ import annotations

import re

import pytest
from command_line import rrg

COUNTS = (
    *(f"training.{name}" for name in ("epochs", "batch_size", "step_epochs", "accumulate", "save_every")),
    *(f"generator.{name}" for name in ("d_model", "d_ff", "heads", "layers", "max_length")),
    *("memory.slots", "memory.top_k", "decoding.beam_size", "decoding.max_length", "studies"),
)
RATES = ("training.lr", "training.lr_visual", "training.eps")
SHARES = ("generator.dropout", "generator.feature_dropout", "memory.dropout")
NOT_NEGATIVE = ("training.weight_decay", "decoding.alpha", "decoding.trigram_penalty")
#: Each is given to `rrg train phantom/cmn --set`.
SETTINGS = [
    *(f"{name}={value}" for name in COUNTS for value in ("0", "-3", "1.5", "true", "abc", "NaN")),
    *(f"{name}={value}" for name in RATES for value in ("NaN", "Infinity", "-1", "0", "1e9", "abc", "")),
    *(f"{name}={value}" for name in SHARES for value in ("2", "1", "-0.5", "NaN", "abc")),
    *(f"{name}={value}" for name in NOT_NEGATIVE for value in ("-3", "NaN", "-Infinity", "[1]")),
    *(f"training.betas={value}" for value in ("[0.9]", "[2,3]", '["a","b"]', "5", "[0.9,1]", "[0.9,0.98,0.99]")),
    *(f"training.monitor={value}" for value in ("{}", '{"BLEU-4":"x"}', '{"BLEU-4":NaN}', "3", "[]", "BLEU-4")),
    *(f"training.monitor={value}" for value in ('{"BLEU-4":0}', '{"validation_loss":1}', '{"train_loss":2}')),
    *(f"training.clip_norm={value}" for value in ("0", "-1", "abc", "NaN", "true")),
    *(f"training.seed={value}" for value in ("-1", "1.5", "99999999999999999999", "x", "null")),
    *("training.warmup_steps=-5", "training.patience=-1", "training.workers=-1", "training.workers=100000"),
    *("training.step_factor=0", "training.step_factor=2", "training.batch_size=100000000", "training.amsgrad=1"),
    *("training.schedule=cosin", "training.mixed_precision=fp8", "training.compile=yes", "memory.fusion=foo"),
    *("memory.scale=heads", "memory.shared=0", "memory.slots=9999999999999999999", "decoding.beam_size=1000"),
    *("decoding.length_penalty=wuu", "decoding.labels_at_test=expert", "decoding.end_bias=NaN"),
    *("decoding.block_ngrams=-1", "generator.norm=layers", "generator.d_model=99999999", "generator.layers=5000"),
    *("generator.vocab_size=3", "generator.d_vf=3", "generator.heads=7", "memory.top_k=100000"),
    *("extractor.weights=3", "extractor.frozen=1", "extractor.name=null", "studies={}", "studies.count=3"),
    *("training.epoch=3", "trainin.epochs=3", "memory.slot=3", "epochs=3", "training=3", "training.epochs", "=3", ""),
    *("training.epochs=" + "9" * 5000, "training.betas=" + "[" * 5000, "pair.weight=1", "dataset=own", "memory=null"),
]


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting[:40])
def test_a_setting_that_cannot_be_is_refused_by_its_name(monkeypatch, capsys, tmp_path, setting):
    monkeypatch.setenv("RRG_HOME", str(tmp_path / "home"))
    code, out, err = rrg(monkeypatch, capsys, "train", "phantom/cmn", "--set", setting)
    assert (code, out) == (2, "")
    assert err.startswith("rrg: ")
    assert err.count("\n") == 1
    assert len(err) < 1000 or len(setting) > 1000
    part, _, name = setting.partition("=")[0].rpartition(".")
    assert name in err or part in err
    assert re.search("for example |known: |nearest: |Leave it out|it has |write ", err, re.IGNORECASE), err
    assert not (tmp_path / "home").exists()


CMN = "phantom/cmn"
LINES = {
    # two things that cannot both be
    f"train {CMN} --seed 1 --set training.seed=2": "training.seed is set twice, to 1 and to 2",
    f"train {CMN} --set training.lr=0.1 --set training.lr=0.2": "training.lr is set twice, to 0.1 and to 0.2",
    f"train {CMN} --set generator.d_model=100 --set generator.heads=7": "heads must divide d_model",
    f"train {CMN} --set memory.slots=8 --set memory.top_k=9": "between 1 and all 8 slots",
    "train phantom/base --set memory.slots=8": "has no memory",
    "prepare phantom --data-root HERE": "draws its pictures",
    "prepare phantom --views frontal": "draws its pictures",
    "prepare phantom --download": "--download fetches iu_xray alone",
    f"generate {CMN} --study s --split test": "--study ID, or --image FILE",
    f"generate {CMN}": "--study ID, or --image FILE",
    "compare phantom/cmn iu_phantom/cmn": "are of two datasets",
    "doctor --sample 5": "--sample: of which folder",
    "score PAIRS PAIRS --conventions": "--conventions takes one file",
    "score PAIRS --out PAIRS": "would replace",
    # numbers out of their range
    f"train {CMN} --seed -1": "training.seed is -1: expected a whole number of at least 0 and at most 4294967295",
    f"train {CMN} --seed 99999999999999999999": "training.seed is 99999999999999999999",
    "prepare phantom --seed -1": "seed is -1: expected a whole number",
    "prepare phantom --seed 99999999999999999999": "seed is 9999",
    "prepare phantom --count 0": "count is 0",
    "prepare phantom --count -5": "count is -5",
    "prepare phantom --max-rejected 2": "max_rejected is 2.0",
    "prepare phantom --max-rejected nan": "max_rejected is nan",
    "prepare phantom --workers 0": "workers is 0",
    "prepare phantom --count abc": "valid int",
    f"train {CMN} --seed abc": "valid int",
    "doctor HERE --sample -5": "--sample is -5: expected a whole number of at least 0, for example --sample=500",
    "bench --repeats 0": "--repeats is 0: expected a whole number of at least 1",
    "bench --threads 0": "--threads is 0: expected a whole number of at least 1",
    "score PAIRS --seed -1": "--seed.*(range|greater than)",
    # names that do not exist
    "train phantom/cmm": "unknown preset 'cmm'; nearest: .*cmn",
    "train phantim/cmn": "unknown dataset 'phantim'; nearest: phantom",
    "train cmn": "write DATASET/PRESET, for example iu_phantom/cmn",
    f"train {CMN} --profile laptob": "unknown profile 'laptob'; nearest: laptop",
    f"trian {CMN}": "No such command 'trian'",
    f"train {CMN} --sed 3": "No such option",
    "prepare iu_fantom": "unknown source 'iu_fantom'; nearest: .*iu_phantom",
    "prepare phantom --protocol r2gem": "unknown protocol 'r2gem'; nearest: r2gen",
    "prepare own --data-root OWN --layout tabel": "unknown layout 'tabel'; nearest: table",
    "prepare own --data-root OWN --views frontals": "unknown rule for views 'frontals'; nearest: frontal",
    "doctor OWN --dataset oen": "unknown source 'oen'; nearest: own",
    "doctor OWN --sheet x.xyz": "--sheet x.xyz: the page of pictures is a PNG",
    "pretrain --profile big": "unknown profile 'big'",
    "bench decoder_": "unknown benchmark",
    "bench --size papr": "unknown size",
    "audit --split dev": "unknown split 'dev'; known: test, train, val",
    "baselines phantom --split dev": "unknown split 'dev'",
    "efficacy PAIRS --split tset": "unknown split 'tset'|columns id and report",
    "rexrank HERE --split train": "unknown split of ReXrank",
    "rexrank HERE --only zz": "unknown baseline",
    "results --decoding tund": "unknown decoding 'tund'; nearest: tuned",
    "results --profile lapto": "nothing is stored|unknown profile",
    "results --dataset own": "nothing is stored",
    "attention phantom/cmm": "unknown preset 'cmm'",
    "compare phantom/cmn phantom/cmm": "unknown preset 'cmm'",
    "score PAIRS --cleaning r2gem": "unknown cleaning",
    "score PAIRS --prediction predicton": "unknown column",
    "score PAIRS --out x.pdf": "its suffix says no format",
    # what is not there yet
    f"evaluate {CMN}": "has not been trained",
    f"tune {CMN}": "has not been trained",
    f"generate {CMN} --image FILM": "has not been trained",
    "generate ./nowhere --image FILM": "nowhere",
    "generate HERE --image FILM": "is no run folder|experiment.json",
    "prepare iu_xray": "reads real images",
    # files: missing, folders, empty, binary, broken
    **{
        f"{command.format(name)}": f"{name}.*({says})"
        for command in ("label {} --out OUT.csv", "efficacy {}")
        for name, says in {
            "nothing.csv": "No such file",
            "folder": "Is a directory",
            "empty.csv": "is empty",
            "header.csv": "holds no report",
            "binary.csv": "is not UTF-8 text",
            "columns.csv": "has no column 'id' and no 'report'",
            "comma.csv": "line 3: has 3 values, the header 2",
            "short.csv": "line 3: has 1 values, the header 2",
            "unclosed.csv": "line 5: is no row",
            "unnamed.csv": "line 3: has no id",
        }.items()
    },
    "score nothing.csv": "nothing.csv",
    "score folder": "folder",
    "score empty.csv": "empty.csv",
    "score binary.csv": "binary.csv",
    "rexrank HERE --reports nothing.csv": "nothing.csv",
    "doctor nowhere": "nowhere: looked for",
    "doctor empty.csv": "it is a file, not a folder",
    "prepare own --data-root nowhere": "nowhere: looked for",
    "prepare own --data-root empty.csv": "it is a file, not a folder",
    "prepare own --data-root folder": "looked for",
    "prepare mimic_cxr --data-root OWN": "It is table, a layout of own",
    "label reports.csv --out folder": "could not write folder",
    "label reports.csv --out empty.csv/x.csv": "could not write empty.csv",
    "label reports.csv": "Missing option '--out'",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with every kind of file that is none."""
    here = tmp_path_factory.mktemp("place")
    (here / "folder").mkdir()
    (here / "own").mkdir()
    (here / "own" / "studies.csv").write_text("image,study,report,split\na.png,A,Clear.,train\n")
    for name, content in {
        "empty": b"",
        "header": b"id,report\n",
        "binary": bytes(range(256)) * 9,
        "columns": b"study,text\na,Clear.\n",
        "comma": b"id,report\na,Clear.\nb,No effusion, no edema.\n",
        "short": b"id,report\na,Clear.\nb\n",
        "unclosed": b'id,report\na,Clear.\nb,"Large\nc,Clear.\nd,Clear.\n',
        "unnamed": b"id,report\na,Clear.\n ,Clear.\n",
        "reports": b"id,report\na,Clear.\n",
        "pairs": b"id,prediction,reference\na,Clear.,Clear.\nb,Clear.,Large effusion.\n",
    }.items():
        (here / f"{name}.csv").write_bytes(content)
    return here


@pytest.mark.parametrize("line", LINES)
def test_a_line_that_cannot_be_meant_is_one_message(monkeypatch, capsys, place, line):
    words = {"HERE": str(place), "OWN": str(place / "own"), "PAIRS": str(place / "pairs.csv"), "FILM": "a.png"}
    monkeypatch.chdir(place)
    monkeypatch.setenv("RRG_HOME", str(place / "home"))
    before = sorted(place.rglob("*"))
    code, _, err = rrg(monkeypatch, capsys, *(words.get(word, word) for word in line.split()))
    err = re.sub(r"[\s│]+", " ", err)  # the command line's own messages stand in a box
    assert code == 2
    assert "Traceback" not in err
    assert re.search(LINES[line], err), err
    assert sorted(place.rglob("*")) == before, "a refused line leaves no trace"


def test_they_are_of_every_kind():
    assert len(SETTINGS) + len(LINES) >= 200
    commands = {line.split()[0] for line in LINES}
    assert {"train", "prepare", "doctor", "generate", "evaluate", "tune", "label", "efficacy", "score"} <= commands
