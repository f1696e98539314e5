# Every target sets up .venv first where that is needed. GNU make and bash (macOS has both).
SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

BIN   := .venv/bin
READY := .venv/ready
SITE  := _build/html
PORT  ?= 8000
# One kernel of arithmetic a process: two test processes share two cores instead of fighting for them.
TESTS := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadfile

.PHONY: help book test lab exercises solutions weights bench architectures serve lint lock clean

help:  ## this list
	@echo "XAI Lab. Each target sets up .venv first (the first time this takes minutes)."
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' $(MAKEFILE_LIST)

# The newest set-up is newer than what it was made from; python3.10 to 3.14 are tried by name,
# because the python3 of a machine may be older.
$(READY): requirements.lock pyproject.toml package-lock.json book/set_up.py
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11 python3.10 python3.14 python; do \
	  if "$$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' 2>/dev/null; then \
	    "$$python" book/set_up.py && touch $@; exit $$?; fi; done; \
	echo "No Python 3.10 or newer was found. Install one (Debian, Ubuntu: sudo apt-get install" \
	  "python3 python3-venv), or name yours: make PYTHON=/path/to/python3 ..."; exit 1

book: $(READY)  ## execute the chapters and build the site
	@$(BIN)/python book/execute.py book chapters solutions
	@$(BIN)/jupyter-book build . --builder html -W -n --keep-going --quiet > _build/build.log || \
	  { rm -rf _build/.doctrees; cat _build/build.log; exit 1; }  # the next run reads all pages again
	@echo "The site is in $(SITE): open $(SITE)/index.html, or run: make serve"

test: book  ## run all tests: the package, the exercises, the solutions, the built site
	@failed=""; \
	$(TESTS) tests || failed="$$failed tests"; \
	PYTHONPATH=tests/offline $(TESTS) --nbval solutions || failed="$$failed solutions"; \
	if [ -n "$$failed" ]; then echo "make test: FAILED in:$$failed (see above)"; exit 1; fi; \
	echo "make test: all passed. Next: make serve shows the site, make bench times the methods."

lab: $(READY)  ## open JupyterLab on chapters and exercises
	@echo "Opening JupyterLab: start with chapters/ or exercises/. Ctrl-C ends it."
	@$(BIN)/jupyter lab

solutions: $(READY)  ## execute the solutions: solutions/*.md to .ipynb
	@$(BIN)/python solutions/build.py solutions

exercises: $(READY)  ## make exercises/*.ipynb from the solutions
	@$(BIN)/python solutions/build.py exercises

weights: $(READY)  ## train the course's own models from scratch (some: make weights MODELS="a b")
	@$(BIN)/python -m xai_lab.models.train $(MODELS)

bench: $(READY)  ## time each method beside its peers and its floor
	@$(BIN)/python -m benchmarks

architectures: $(READY)  ## find the layer of every architecture (an hour; goes on where it stopped)
	@$(BIN)/python -m benchmarks.architectures

serve: $(READY)  ## show the built site on this machine
	@test -f $(SITE)/index.html || { echo "There is no site yet. Run: make book"; exit 1; }
	@echo "The book: http://localhost:$(PORT) (Ctrl-C ends it; another port: make serve PORT=8001)"
	@$(BIN)/python -m http.server $(PORT) --bind 127.0.0.1 --directory $(SITE)

lint: $(READY)  ## check style and types
	@$(BIN)/ruff format --check . && $(BIN)/ruff check . && $(BIN)/mypy
	@echo "make lint: nothing to complain about."

# torch and torchvision must be a released pair: these two lines are the pair.
lock: $(READY)  ## renew requirements.lock from pyproject.toml
	@printf 'torch==2.12.1\ntorchvision==0.27.1\n' > .venv/pair.txt
	@$(BIN)/uv pip compile pyproject.toml --extra book --extra test --extra bench --extra dev \
	  --constraints .venv/pair.txt --universal --python-version 3.10 --quiet \
	  --no-emit-index-url --no-annotate --no-header --output-file requirements.lock
	@echo "requirements.lock is renewed (versions in it stay where they can; add UPGRADE by hand" \
	  "with: uv pip compile -U). Next: make test"

clean:  ## remove what was built (.venv stays: remove it by hand)
	@rm -rf _build build node_modules book/site_extra .pytest_cache .ruff_cache .mypy_cache
	@echo "Removed what was built. Next: make book builds it again (.venv was left in place)."
