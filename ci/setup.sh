#!/bin/sh
# Set up everything in .venv, then run the rest of the command line inside it:
#
#   ci/setup.sh assay run        ci/setup.sh pytest        ci/setup.sh        (only set up)
#
# Needs Python 3.11 or later, and pip's usual access to a package index. Does nothing when nothing changed.
#   SETUP_PYTHON=/path/to/python   the interpreter to build .venv from. If it, or the active virtual or conda
#                                  environment, has torch already (CUDA, ROCm), that torch is used, never changed.
#   SETUP_TORCH_INDEX=URL          a further index to take torch from, e.g. PyTorch's index of CPU or ROCm wheels.
#   SETUP_TORCH=cpu                install the CPU build even where there is a GPU, and whatever torch there is.
#   SETUP_VENV=/path               where the environment goes instead of .venv.
# What is given once is remembered in .venv; remove .venv to start anew.
# Exit code 2: could not set up (the last line says what to do); otherwise the code of the command.
set -eu

ROOT=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
VENV=${SETUP_VENV:-$ROOT/.venv}
PY=$VENV/bin/python
STAMP=$VENV/assay-setup.stamp
TORCH=$(sed -n 's/^torch==//p' "$ROOT/constraints.txt")
TORCHVISION=$(sed -n 's/^torchvision==//p' "$ROOT/constraints.txt")

say() { printf 'setup: %s\n' "$*" >&2; }
die() { say "$1"; shift; for line in "$@"; do say "  $line"; done; exit 2; }

remembered() { sed -n "s/^$1=//p" "$VENV/remembered" 2>/dev/null || true; }
SETUP_PYTHON=${SETUP_PYTHON:-$(remembered python)}
SETUP_TORCH=${SETUP_TORCH:-$(remembered torch)}
SETUP_TORCH_INDEX=${SETUP_TORCH_INDEX:-$(remembered index)}

# What a whole new environment depends on; when only the rest changed, .venv is brought up to date instead.
foundation() { echo "$SETUP_PYTHON, torch $TORCH, torchvision $TORCHVISION, $SETUP_TORCH $SETUP_TORCH_INDEX"; }

wanted() {
    cat "$ROOT/pyproject.toml" "$ROOT/constraints.txt" "$ROOT/ci/setup.sh" "$ROOT/ci/mend_torchvision.py" | cksum
    echo "$ROOT $(foundation)"
}

is_ready() { [ -x "$PY" ] && [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$(wanted)" ]; }

usable() { "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
    if [ -n "$SETUP_PYTHON" ]; then
        usable "$SETUP_PYTHON" || die "SETUP_PYTHON=$SETUP_PYTHON is not a Python 3.11 or later with venv and ensurepip"
        echo "$SETUP_PYTHON"
        return
    fi
    for name in ${VIRTUAL_ENV:+"$VIRTUAL_ENV/bin/python"} ${CONDA_PREFIX:+"$CONDA_PREFIX/bin/python"} \
        python3.11 python3 python3.12 python3.13 python3.14; do
        [ "$name" = "$PY" ] && continue
        if path=$(command -v "$name") && usable "$path"; then
            echo "$path"
            return
        fi
    done
    die "no Python 3.11 or later with venv and ensurepip was found on PATH" \
        "install one (Debian, Ubuntu: apt-get install python3 python3-venv), or set SETUP_PYTHON=/path/to/python"
}

# "VERSION FOLDER" of the torch that an interpreter has already; nothing when it has none or one that is too old.
torch_of() {
    "$1" - 2>/dev/null <<'PYTHON' || true
from importlib.metadata import distribution
found = distribution("torch")
if tuple(int(n) for n in found.version.split("+")[0].split(".")[:2]) >= (2, 8):
    print(found.version, found.locate_file("").resolve())
PYTHON
}

has_nvidia() { command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L >/dev/null 2>&1; }
has_amd() { [ -e /dev/kfd ] && command -v rocminfo >/dev/null 2>&1; }

pip_install() {
    quiet=-qq
    [ -t 2 ] && quiet=
    # shellcheck disable=SC2086
    "$PY" -m pip install $quiet --disable-pip-version-check \
        ${SETUP_TORCH_INDEX:+--extra-index-url "$SETUP_TORCH_INDEX"} "$@" >&2
}

torch_failed() {
    die "torch $TORCH could not be installed (pip's message is above)" \
        "activate an environment that has torch, or set SETUP_TORCH_INDEX=URL to an index that has it, and run again"
}

# Installs torch: the CPU build where there is no GPU, else the build for the GPU.
install_torch() {
    if [ "$SETUP_TORCH" != cpu ] && has_nvidia; then
        say "torch $TORCH for NVIDIA GPUs (several GB; SETUP_TORCH=cpu takes the CPU build instead)"
        pip_install "torch==$TORCH" || torch_failed
    elif [ "$SETUP_TORCH" != cpu ] && has_amd; then
        [ -n "$SETUP_TORCH_INDEX" ] || die "an AMD GPU is here, and the usual index has no torch for ROCm" \
            "activate an environment that has it, or set SETUP_TORCH_INDEX to the URL that PyTorch's page shows for ROCm," \
            "or set SETUP_TORCH=cpu to leave the GPU alone; then run again"
        say "torch $TORCH for AMD GPUs, from SETUP_TORCH_INDEX"
        pip_install "torch==$TORCH" || torch_failed
    elif [ "$(uname -s)" = Darwin ]; then
        say "torch $TORCH"
        pip_install "torch==$TORCH" || torch_failed
    else
        say "torch $TORCH, CPU build (about 200 MB)"
        pip_install "torch==$TORCH+cpu" 2>"$VENV/torch-cpu.log" && return
        say "pip's indexes have no CPU-only build of torch $TORCH (details: $VENV/torch-cpu.log)."
        say "Going on with the plain one: it works without a GPU, but brings several GB of CUDA libraries."
        say "To avoid that, stop now (Ctrl-C) and set SETUP_TORCH_INDEX to the URL that PyTorch's page shows for CPU."
        [ -t 0 ] && sleep 8
        pip_install "torch==$TORCH" || torch_failed
    fi
}

# Lets .venv see the torch of another environment, which stays as it is: what is installed here goes before it.
borrow_torch() {
    site=$("$PY" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
    echo "$2" >"$site/borrowed-torch.pth"
    say "torch $1 of $2 is used as it is"
}

new_environment() {
    base=$(find_python)
    say "Python $("$base" -c 'import platform; print(platform.python_version())') at $base, environment in $VENV"
    "$base" -m venv --clear "$VENV" || die "could not make $VENV with $base" "set SETUP_PYTHON to another Python, or SETUP_VENV to a folder you may write"
    existing=
    [ "$SETUP_TORCH" = cpu ] || existing=$(torch_of "$base")
    if [ -n "$existing" ]; then
        borrow_torch "${existing%% *}" "${existing#* }"
        echo "torch==${existing%% *}" >"$VENV/torch-constraints.txt"
    else
        install_torch
        printf 'torch==%s\ntorchvision==%s\n' "$TORCH" "$TORCHVISION" >"$VENV/torch-constraints.txt"
    fi
    printf 'python=%s\ntorch=%s\nindex=%s\n' "$SETUP_PYTHON" "$SETUP_TORCH" "$SETUP_TORCH_INDEX" >"$VENV/remembered"
    foundation >"$VENV/foundation"
}

set_up() {
    if [ ! -x "$PY" ] || [ "$(cat "$VENV/foundation" 2>/dev/null)" != "$(foundation)" ]; then
        new_environment
    fi
    {
        sed '/^torch\(vision\)\{0,1\}==/d' "$ROOT/constraints.txt"
        cat "$VENV/torch-constraints.txt"
    } >"$VENV/constraints.txt"
    say "everything else, at the versions of constraints.txt"
    pip_install -c "$VENV/constraints.txt" setuptools &&
        pip_install -c "$VENV/constraints.txt" --no-build-isolation -e "$ROOT[dev]" ||
        die "the packages could not be installed (pip's message is above)" \
            "check the network, and pip's index (pip config list), then run again"
    "$PY" "$ROOT/ci/mend_torchvision.py" || say "torchvision could not be looked at; going on"
    wanted >"$STAMP"
    say "ready in $(($(date +%s) - started)) s"
}

if ! is_ready; then
    started=$(date +%s)
    # One at a time: a second call waits for the first, then finds everything done.
    lock=$VENV.lock
    mkdir -p "$(dirname -- "$VENV")"
    until mkdir "$lock" 2>/dev/null; do
        owner=$(cat "$lock/pid" 2>/dev/null || true)
        if [ -n "$owner" ] && ! kill -0 "$owner" 2>/dev/null; then
            rm -rf "$lock"
        else
            [ -n "${waiting:-}" ] || say "another set-up is running (process ${owner:-unknown}); waiting for it"
            waiting=yes
            sleep 1
        fi
    done
    echo $$ >"$lock/pid"
    trap 'rm -rf "$lock"' EXIT
    trap 'exit 130' INT TERM
    is_ready || set_up
    rm -rf "$lock"
    trap - EXIT INT TERM
fi

[ $# -gt 0 ] || {
    say "ready; next: ci/setup.sh assay run, or . $VENV/bin/activate"
    exit 0
}
VIRTUAL_ENV=$VENV
PATH=$VENV/bin:$PATH
export VIRTUAL_ENV PATH
exec "$@"
