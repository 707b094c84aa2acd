#!/bin/sh
# Write constraints.txt anew from what is installed in .venv. After changing pyproject.toml:
#   ci/setup.sh && .venv/bin/pip install -U --upgrade-strategy eager -e '.[dev,train]' && ci/freeze.sh
set -eu
cd "$(dirname -- "$0")/.."
{
    echo "# Every package of the tested environment, at the version it was tested with: written by ci/freeze.sh."
    echo "# ci/setup.sh takes torch's build (CPU, CUDA, ROCm) from the machine, or keeps the one that is there."
    "${SETUP_VENV:-.venv}/bin/python" -m pip freeze --all --exclude-editable --exclude pip |
        sed -n 's/^\([A-Za-z0-9._-]*==[^+ ]*\)+[A-Za-z0-9.]*$/\1/; /==/p' | sort -f
} >constraints.txt
