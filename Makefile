# make demo        install into .venv and run the whole way on synthetic volumes, into demo/
# make test        install with the test extras, then style, import order, tests and doctests
# make test-tfa    compare with the real tensorflow-addons, in an environment of its own (needs Python 3.11)
# make test-foreign ask exports in TensorFlow 2.20, KServe and Triton, in environments of their own
# make test-dcmqi  read DICOM SEG by dcmqi, in an environment of its own
# make benchmarks  run every file of benchmarks/; last, each prints `name ratio goal`, one line a claim
# make clean       remove the environments and caches, nothing that a command made for you
#
# PYTHON=/path/to/python3.12 chooses the interpreter, VENV=folder the place of the environment.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.PHONY: demo test test-tfa test-foreign test-dcmqi peers benchmarks clean
.DELETE_ON_ERROR:

VENV ?= .venv
BIN := $(VENV)/bin
PYTHON ?=
CANDIDATES := $(or $(PYTHON),python3.13 python3.12 python3.11 python3 python)

# A candidate may be missing, of another version, a version manager's stub that only prints an error, or lack venv.
define find_python
for python in $(CANDIDATES); do \
  if "$$python" -c 'import sys, venv, ensurepip; sys.exit(not $(1))' >/dev/null 2>&1; then \
    echo "Using $$("$$python" -c 'import platform, sys; print("Python", platform.python_version(), "at", sys.executable)')"; \
    found=$$python; break; \
  fi; \
done
endef

demo: $(BIN)/.package
	$(BIN)/mcc-keras demo demo/

test: $(BIN)/.test
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/lint-imports
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

benchmarks: $(BIN)/.test $(BIN)/.peers
	for file in $(wildcard benchmarks/*.py); do echo "== $$file"; $(BIN)/python "$$file"; done

test-tfa: $(BIN)/.test $(VENV)-tfa/bin/.tfa
	MCC_KERAS_TFA_PYTHON="$(abspath $(VENV)-tfa/bin/python)" $(BIN)/python -m pytest -m tfa

test-dcmqi: $(BIN)/.test $(VENV)-dcmqi/bin/segimage2itkimage
	MCC_KERAS_DCMQI="$(abspath $(VENV)-dcmqi/bin/segimage2itkimage)" $(BIN)/python -m pytest tests/formats/test_dicom_seg.py

test-foreign: $(BIN)/.test $(VENV)-foreign/bin/.tensorflow $(VENV)-kserve/bin/.kserve
	MCC_KERAS_TF220_PYTHON="$(abspath $(VENV)-foreign/bin/python)" \
	MCC_KERAS_KSERVE_PYTHON="$(abspath $(VENV)-kserve/bin/python)" $(BIN)/python -m pytest tests/foreign

peers: $(BIN)/.peers

clean:
	rm -rf $(VENV) $(VENV)-tfa $(VENV)-foreign $(VENV)-kserve $(VENV)-dcmqi build *.egg-info .hypothesis .import_linter_cache .pytest_cache .ruff_cache
	find mcc_keras tests notebooks benchmarks export -name __pycache__ -prune -exec rm -rf {} + 2>/dev/null || true

$(BIN)/.package: setup.cfg setup.py
	@found=; $(call find_python,(3, 11) <= sys.version_info[:2] <= (3, 13)); \
	if [ -z "$$found" ]; then \
	  echo "mcc_keras needs Python 3.11, 3.12 or 3.13 with venv; none of these is one: $(CANDIDATES)." >&2; \
	  echo "Install one (Debian, Ubuntu: apt install python3-venv), or say where it is: make PYTHON=/path/to/python3.12" >&2; \
	  exit 1; \
	fi; \
	"$$found" -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --editable .
	touch $@

$(BIN)/.test: $(BIN)/.package
	$(BIN)/python -m pip install --quiet --editable '.[test]'
	touch $@

$(BIN)/.peers: $(BIN)/.package
	$(BIN)/python -m pip install --quiet --editable '.[peers]'
	touch $@

$(VENV)-tfa/bin/.tfa: setup.cfg
	@found=; $(call find_python,sys.version_info[:2] == (3, 11)); \
	if [ -z "$$found" ]; then \
	  echo "tensorflow-addons needs Python 3.11 with venv; none of these is one: $(CANDIDATES)." >&2; \
	  exit 1; \
	fi; \
	"$$found" -m venv --clear $(VENV)-tfa
	$(VENV)-tfa/bin/python -m pip install --quiet 'tensorflow-cpu==2.15.1' 'tensorflow-addons==0.23.0' 'numpy<2'
	touch $@

$(VENV)-foreign/bin/.tensorflow: $(BIN)/.package
	$(BIN)/python -m venv --clear $(VENV)-foreign
	$(VENV)-foreign/bin/python -m pip install --quiet --no-compile 'tensorflow-cpu==2.20.0' 'numpy<2'
	$(VENV)-foreign/bin/python -m pip install --quiet --no-compile --no-deps 'nvidia-pytriton==0.7.0' || \
	  echo "no Triton for this machine: its test is skipped"
	touch $@

# The TensorFlow that writes the exports, so that masks are equal bit for bit.
$(VENV)-kserve/bin/.kserve: $(BIN)/.package export/kserve/requirements.txt
	$(BIN)/python -m venv --clear $(VENV)-kserve
	$(VENV)-kserve/bin/python -m pip install --quiet --no-compile -r export/kserve/requirements.txt \
	  "tensorflow-cpu==$$($(BIN)/python -c 'from importlib.metadata import version; print(version("tensorflow"))')" \
	  kubernetes-validate 'tritonclient[grpc]'
	touch $@

$(VENV)-dcmqi/bin/segimage2itkimage: $(BIN)/.package
	$(BIN)/python -m venv --clear $(VENV)-dcmqi
	$(VENV)-dcmqi/bin/python -m pip install --quiet dcmqi
