# make book · make test: on a machine with Python (>= 3.11), pip and make, these two do everything, the virtual environment included.
# `make help` lists the rest.

# --- what you may set: make book PROFILE=laptop ---------------------------------------------------------------------------------------------------
PYTHON      ?= python3
VENV        ?= .venv
PROFILE     ?= ci
DATASET     ?= iu_phantom
DATA_ROOT   ?=
SEED        ?=
CHAPTERS    ?=
FILE        ?=
EQUALS      ?=
CLAIM       ?=
# Chapters side by side: as many as there are cores and three gigabytes for each. Each runs on one thread (OMP_NUM_THREADS says otherwise).
JOBS        ?= 1
PRESETS     ?= base mem cmn
SYSTEMS     ?=
SEEDS       ?=
DRY_RUN     ?=
# pip's torch for Linux is the CUDA build: 5.3 of the 7 GB. TORCH=cpu takes a smaller one from TORCH_INDEX, the address of a package index with CPU-only
# wheels; PyTorch's page "Start locally" names its own.
TORCH       ?=
TORCH_INDEX ?=
# newest: what pyproject.toml allows. locked: the versions this edition of the book was made with, each file's hash compared (locks/book.txt).
EDITION     ?= newest
WORKERS     ?= 2
RRG_HOME    ?= $(CURDIR)/build

comma  := ,
# To read and to run the chapters; and what tests, site and course need besides, installed when one of them is asked for.
READ   := book,pretrained
EXTRAS := book,test,pretrained,bert,site,course
BIN    := $(VENV)/bin
LOCK   := $(if $(filter locked,$(EDITION)),locks/book.txt)
# The stamp's name holds a checksum of pyproject.toml, and of the lock: another list of dependencies is another stamp.
SUM    := $(EDITION)-$(firstword $(shell cat pyproject.toml $(LOCK) | cksum))
STAMP  := $(VENV)/.installed-$(SUM)
ALL    := $(VENV)/.installed-all-$(SUM)
PIP    := "$(BIN)/python" -m pip install --disable-pip-version-check --progress-bar off --quiet
# ruff gets the sources by name: the notebooks are checked against theirs, not linted again.
LINTED := rrg_lib data tests tools site $(wildcard notebooks/*.py)
SEEDED := $(if $(SEED),--seed "$(SEED)")
IMAGES := $(if $(DATA_ROOT),--data-root "$(DATA_ROOT)")
ONLY   := $(if $(CHAPTERS),--only $(CHAPTERS))
NBVAL  := -p no:nbval -p nbval_recorded --nbval-lax --nbval-sanitize-with tests/nbval_sanitize.cfg

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.NOTPARALLEL:
.PHONY: help install demo lock assets book replicate notebooks results figures release slides check-mine project lint unit slow pairs chapters nbval test test-fast lab site serve browser site-test clean distclean
book replicate assets notebooks results figures release slides check-mine project chapters slow lab demo site serve site-test: export RRG_HOME := $(abspath $(RRG_HOME))

# Threads that wait sleep: spinning, they cost ten times on a machine that does something else besides (rrg bench waiting).
export OMP_WAIT_POLICY ?= passive

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo "  settings: PROFILE=ci|laptop|gpu DATASET=iu_phantom DATA_ROOT=folder SEED=n CHAPTERS='03 04' JOBS=2 PYTHON=python3.12 VENV=.venv TORCH=cpu TORCH_INDEX=address EDITION=newest|locked"

# --- the environment ------------------------------------------------------------------------------------------------------------------------------
install: $(STAMP) ## the virtual environment with everything installed (the other targets do this themselves)

$(STAMP):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "make: '$(PYTHON)' is missing or older than Python 3.11. Choose another: make PYTHON=python3.12 …" >&2; exit 1; }
	@case "$(EDITION)" in newest|locked) ;; *) echo "make: EDITION is '$(EDITION)'; it can be newest or locked" >&2; exit 1;; esac
	@case "$(TORCH)" in ""|cpu) ;; *) echo "make: TORCH is '$(TORCH)'; it can be cpu, or left out" >&2; exit 1;; esac
	@test -z "$(TORCH)" || test -n "$(TORCH_INDEX)" || \
		{ echo "make: TORCH=cpu needs the address of a package index with CPU-only wheels: make install TORCH=cpu TORCH_INDEX=address." \
		       "PyTorch's page \"Start locally\" names its own under CPU" >&2; exit 1; }
	@test -z "$(LOCK)" || test -z "$(TORCH_INDEX)" || \
		{ echo "make: the lock names PyTorch's own files, so TORCH_INDEX can't be used with EDITION=locked; leave one of them out" >&2; exit 1; }
	@test -x "$(BIN)/python" || $(PYTHON) -c 'import venv, ensurepip' 2>/dev/null || \
		{ echo "make: '$(PYTHON)' cannot make virtual environments: its venv module is missing. On Debian and Ubuntu: sudo apt install python3-venv;" \
		       "or choose another Python: make PYTHON=/path/to/python3 …" >&2; exit 1; }
	@echo "installing into $(VENV): a few minutes and some $(if $(TORCH),2,7) GB, once"
	@"$(BIN)/python" -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv "$(VENV)"
ifneq ($(LOCK),)
	$(PIP) --require-hashes --requirement $(LOCK)
	$(PIP) --no-deps --no-build-isolation --editable .
else
	$(if $(TORCH),$(PIP) --index-url "$(TORCH_INDEX)" torch torchvision)
	$(PIP) $(if $(TORCH_INDEX),--extra-index-url "$(TORCH_INDEX)") --editable ".[$(READ)]"
endif
	@rm -f "$(VENV)"/.installed-*
	@touch "$@"

# The lock holds all of it: with EDITION=locked there is nothing to add.
$(ALL): $(STAMP)
ifeq ($(LOCK),)
	@echo "installing what tests, site and course need besides: a minute and some 0.5 GB, once"
	$(PIP) $(if $(TORCH_INDEX),--extra-index-url "$(TORCH_INDEX)") --editable ".[$(EXTRAS)]"
endif
	@touch "$@"

lock: $(ALL) ## maintainers: write locks/book.txt, the versions that are installed here, with hashes; run `make test` first
	$(PIP) --editable ".[lock]"
	"$(BIN)/python" tools/lock.py $(subst $(comma), ,$(EXTRAS))

# --- the book -------------------------------------------------------------------------------------------------------------------------------------
# $(call ASSETS,profile,dataset,where real images are,seed): nothing is made twice, so this costs seconds from the second time on.
define ASSETS
"$(BIN)/rrg" prepare $(2) $(3)
"$(BIN)/rrg" pretrain $(2) --profile $(1) $(3)
"$(BIN)/rrg" train $(2)/cmn --profile $(1) $(3) $(4)
endef

assets: $(STAMP) ## what the chapters start from: prepared studies, the visual extractor, chapter 00's generator; kept in build/
	$(call ASSETS,$(PROFILE),$(DATASET),$(IMAGES),$(SEEDED))

book: assets ## run every chapter into build/book (PROFILE, DATASET, DATA_ROOT, SEED, CHAPTERS, JOBS)
	"$(BIN)/python" tools/book.py run --out "$(RRG_HOME)/book" --profile $(PROFILE) --dataset $(DATASET) $(IMAGES) $(SEEDED) $(ONLY) --jobs $(JOBS)
	"$(BIN)/rrg" replicate iu_phantom --stored --out "$(RRG_HOME)/book/replication"

# DATASET is to be named: drawn studies, the default elsewhere, are refused, because what is drawn is no replication.
replicate: $(STAMP) ## run the papers' tables on their own data and report: DATASET=iu_xray|mimic_cxr DATA_ROOT=folder [SYSTEMS="base cmn"] [SEEDS="1 2 3"] [DRY_RUN=1]
	"$(BIN)/rrg" replicate $(DATASET) $(IMAGES) $(SYSTEMS:%=--system %) $(SEEDS:%=--seed %) $(if $(DRY_RUN),--dry-run)

notebooks: $(STAMP) ## maintainers: run the chapters in the ci profile and write the notebooks that are committed (CHAPTERS)
	$(call ASSETS,ci,iu_phantom)
	"$(BIN)/python" tools/book.py write --out notebooks --timings data/timings.json $(ONLY)

results: $(STAMP) ## maintainers: train and measure PRESETS in PROFILE (name it: PROFILE=laptop), keep the scores in data/results and the README's table
	"$(BIN)/python" tools/results.py run --profile $(PROFILE) --dataset $(DATASET) $(PRESETS) $(if $(SEED),--seed $(SEED))

figures: $(STAMP) ## draw the figures of the papers and of the book into figures/, with captions and provenance (from stored results; trains nothing)
	"$(BIN)/python" tools/figures.py

demo: $(STAMP) ## a small trained system writes the report of a drawn study, word by word, and draws a picture of both
	"$(BIN)/rrg" demo

lab: $(STAMP) ## open JupyterLab on the chapters
	"$(BIN)/jupyter" lab notebooks

# --- the site -------------------------------------------------------------------------------------------------------------------------------------
release: $(ALL) ## blank notebooks to learn from alone and an nbgrader course, into build/release (COURSE.md)
	"$(BIN)/python" tools/release.py --out "$(RRG_HOME)/release"

check-mine: $(STAMP) ## FILE=my_memory.py: hold a memory or generator of your own against what all promise, train it, put it beside the others (COURSE.md)
	@test -n "$(FILE)" || { echo "make: which file? make check-mine FILE=my_memory.py; tests/own_modules/right.py is one" >&2; exit 1; }
	"$(BIN)/rrg" check-mine "$(FILE)" $(if $(EQUALS),--equals "$(EQUALS)")

project: $(STAMP) ## CLAIM=cmn-memory-grows: a claim as a student's project, into build/projects; without CLAIM, worked examples for lecturers
	"$(BIN)/rrg" project $(if $(CLAIM),"$(CLAIM)",--examples)

slides: $(ALL) ## slides of the chapters, to show in a lecture, into build/slides (CHAPTERS); they need no network
	"$(BIN)/python" tools/slides.py --out "$(RRG_HOME)/slides" $(ONLY)

site: $(ALL) ## the book as pages, from the committed chapters, into build/site: warnings are errors; links, anchors and pictures are checked
	@"$(BIN)/python" tools/site_python.py fetch
	"$(BIN)/python" tools/website.py build

serve: $(ALL) ## open the site in the browser (builds it when it is not there)
	@test -f "$(RRG_HOME)/site/index.html" || "$(BIN)/python" tools/website.py build
	"$(BIN)/python" tools/website.py serve

# A browser is a program of the system: elsewhere the tests say what to do.
browser: ## a Chromium for the site's tests, installed where that is allowed (root on Debian or Ubuntu)
	@test -n "$(RRG_BROWSER)" || command -v chromium chromium-browser google-chrome >/dev/null || ! command -v apt-get >/dev/null || test "$$(id -u)" != 0 || \
		{ echo "installing chromium, for the tests of the site"; apt-get update -qq && apt-get install -y -qq --no-install-recommends chromium >/dev/null; }

site-test: site browser ## every page of the site in headless Chromium: errors, requests, mathematics, search, folded hints, 400 pixels, dark
	"$(BIN)/python" -m pytest -m browser

# --- the tests ------------------------------------------------------------------------------------------------------------------------------------
test: lint unit slow pairs chapters nbval site-test ## everything: lint, unit and slow tests, source and notebook agree, the chapters end to end, their marked outputs, the site

test-fast: lint unit ## lint and unit tests: minutes

lint: $(ALL) ## ruff: rules and format
	"$(BIN)/ruff" check $(LINTED)
	"$(BIN)/ruff" format --check $(LINTED)

unit: $(ALL) ## the fast tests
	"$(BIN)/python" -m pytest -n $(WORKERS) --dist loadscope

slow: $(ALL) ## the tests that take minutes
	"$(BIN)/python" -m pytest -n $(WORKERS) --dist loadscope --no-loadscope-reorder -m "slow and not browser"

pairs: $(ALL) ## each chapter's source and committed notebook agree, cell by cell
	"$(BIN)/python" tools/book.py check

chapters: $(STAMP) ## run every chapter in the ci profile into build/check
	$(call ASSETS,ci,iu_phantom)
	"$(BIN)/python" tools/book.py write --out "$(RRG_HOME)/check" --timings "$(RRG_HOME)/check/timings.json" $(ONLY) --jobs $(JOBS)

nbval: $(ALL) ## compare the marked outputs of that run with the committed ones
	PYTHONPATH=tools "$(BIN)/python" -m pytest $(NBVAL) --recorded "$(RRG_HOME)/check" $(if $(CHAPTERS),$(CHAPTERS:%=notebooks/%*.ipynb),notebooks)

clean: ## remove what was made, trained models included
	rm -rf build .pytest_cache .ruff_cache

distclean: clean ## remove the virtual environment too
	rm -rf .venv
