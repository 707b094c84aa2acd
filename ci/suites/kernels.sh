#!/bin/sh
# The Triton kernels: compiled for an H100 and an MI300 wherever this runs; then on the card where there is one (and the
# whole engine on it), otherwise on the CPU in Triton's interpreter. Triton comes with torch's builds for GPUs; where it is
# missing it is installed (about 300 MB) into an environment of its own, which sees everything of the active one.
# KERNELS_VENV=/path puts that somewhere else than .venv-kernels.
set -eu
cd "$(dirname -- "$0")/../.."
if ! python -c 'import triton' 2>/dev/null; then
    venv=${KERNELS_VENV:-.venv-kernels}
    if ! "$venv/bin/python" -c 'import triton' 2>/dev/null; then
        python -m venv --clear "$venv"
        packages='import sysconfig; print(sysconfig.get_paths()["purelib"])'
        echo "import site; site.addsitedir('$(python -c "$packages")')" >"$("$venv/bin/python" -c "$packages")/active.pth"
        "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps triton==3.9.0
    fi
    PATH=$(cd "$venv/bin" && pwd):$PATH
fi
python -m pytest -n0 --timeout 1800 tests/reference_engine/kernels/test_targets.py
if python -c 'import torch; raise SystemExit(not torch.cuda.is_available())'; then
    set -- tests/reference_engine/test_gpu.py
else
    export TRITON_INTERPRET=1
    set --
fi
exec python -m pytest -n0 -m "not slow" --timeout 1800 \
    tests/reference_engine/kernels tests/reference_engine/attention/test_triton.py "$@"
