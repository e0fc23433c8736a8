# make train: from nothing to a trained, tested and drawn Vision Transformer. make help lists all.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS := constraints.txt
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS)

# Images of containers set it; each of the many processes of the tests would compile qkv anew.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help train train-text serve test browser lint bench examples clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

train: $(VENV)/.installed ## train a Vision Transformer on Fashion-MNIST, test it, draw it
	$(BIN)/qkv train fashion-mnist

train-text: $(VENV)/.installed-text ## train a text classifier on IMDB (DATA=folder if it is not to be fetched)
	$(BIN)/qkv train imdb $(if $(DATA),--data $(DATA))

serve: $(VENV)/.installed-serve ## open trained models up in a browser (RUN="folder …"; else all in runs/)
	$(BIN)/qkv serve $(or $(RUN),$(wildcard runs/*))

# Their numbers must not hang on one processor's rounding, so they also run on a lesser one's.
NUMERICAL := tests/attention tests/recurrence tests/explanation tests/vision \
  tests/contracts tests/training/test_optim.py tests/training/test_fit.py \
  tests/text/test_encoder.py tests/text/test_gru_head.py tests/text/test_heads.py
LESSER := import torch; a = "AVX512" in torch.backends.cpu.get_cpu_capability(); \
  print("ATEN_CPU_CAPABILITY=" + ("avx2" if a else "default"), \
  "ONEDNN_MAX_CPU_ISA=" + ("AVX2" if a else "SSE41"))

test: $(VENV)/.installed-dev browser lint ## run everything the project checks
	$(BIN)/python -m pytest -n auto
	env $$($(BIN)/python -c '$(LESSER)') $(BIN)/python -m pytest -n auto $(NUMERICAL)

browser: ## install Chromium for the tests of the page, where apt may
	@command -v chromium chromium-browser google-chrome >/dev/null || \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium >/dev/null; \
	fi || true
	@command -v chromium chromium-browser google-chrome >/dev/null || \
	echo "no Chromium, so the page goes untested: install one (apt-get install chromium)" >&2

lint: $(VENV)/.installed-dev ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.installed-bench ## measure qkv against its baselines; keeps the results
	$(BIN)/qkv bench attention --out benchmarks/results/attention.json
	$(BIN)/qkv bench scan --out benchmarks/results/scan.json
	$(BIN)/qkv bench vit-step --out benchmarks/results/vit-step.json
	$(BIN)/qkv bench vit-time-to-accuracy --out benchmarks/results/vit-time-to-accuracy.json
	$(BIN)/qkv bench encode --out benchmarks/results/encode.json
	$(BIN)/qkv bench text-epoch --out benchmarks/results/text-epoch.json
	$(BIN)/qkv bench serve --out benchmarks/results/serve.json
	$(BIN)/qkv bench serve-overload --out benchmarks/results/serve-overload.json

examples: $(VENV)/.installed-dev ## run the notebooks anew and save their outputs
	$(BIN)/python examples/execute.py

clean: ## remove the virtual environment and what tools cached; runs/ stays
	rm -rf $(VENV) .mypy_cache .ruff_cache .hypothesis build dist
	find src tests -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/.installed: pyproject.toml $(CONSTRAINTS)
	$(PYTHON) -c 'import sys; sys.exit(0 if sys.version_info >= (3, 11) else "qkv needs Python 3.11 or newer; name one with make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) -e .
	touch $@

$(VENV)/.installed-text: $(VENV)/.installed
	$(INSTALL) -e '.[text,minilm]'
	touch $@

$(VENV)/.installed-serve: $(VENV)/.installed
	$(INSTALL) -e '.[serve]'
	touch $@

$(VENV)/.installed-bench: $(VENV)/.installed
	$(INSTALL) -e '.[text,minilm,serve,bench]'
	touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(INSTALL) -e '.[dev]'
	touch $@
