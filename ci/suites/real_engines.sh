#!/bin/sh
# Released SGLang and vLLM on this machine's CPU with a packaged sentinel: ci/suites/real_engines.sh [DIRECTORY]
# Each in an environment of its own, made the first time (3 GB, minutes, vLLM's beside SGLang's runs) and kept in
# ENGINES (default: .venv-engines). Failures that a release is known for do not count
# (harness/targets/known_divergences.toml). Records and pages go to DIRECTORY; without one they are thrown away.
set -eu
cd "$(dirname -- "$0")/../.."
sglang=0.5.23 vllm=0.32.0
engines=${ENGINES:-.venv-engines}
scratch=$(mktemp -d)
out=${1:-$scratch/runs}
making=
trap '[ -z "$making" ] || kill $making 2>/dev/null || true; rm -rf "$scratch"' EXIT

make_environment() {
    python -c '
import sys
from pathlib import Path
from harness.conformance.environments import python_of
python_of(sys.argv[1], sys.argv[2], Path(sys.argv[3]), print)' "$1" "$2" "$engines"
    "$engines/$1-$2/bin/python" ci/mend_torchvision.py
}

judge() {  # TARGET VERSION FURTHER-JOBS ARGUMENTS...
    target=$1 python=$engines/$1-$2/bin/python further=$3
    shift 3
    code=0
    # shellcheck disable=SC2086
    assay run $further token-drift differential hostile --target "$target" --python "$python" --samples 16 \
        --toggle dtype=float32 --startup-timeout 400 --request-timeout 180 --out "$out" "$@" || code=$?
    echo "real_engines: $target ended with $code"
    [ $code -eq 0 ] || failed="$failed $target"
}

failed=
export OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1
make_environment vllm $vllm >"$scratch/vllm.log" 2>&1 &
making=$!
make_environment sglang $sglang
site=$("$engines/sglang-$sglang/bin/python" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
cp -r ci/sgl_kernel "$site/"
SGLANG_USE_CPU_ENGINE=1 CUDA_VISIBLE_DEVICES='' judge sglang $sglang token-in-token-out \
    --engine-arg=--device=cpu --engine-arg=--attention-backend=torch_native --engine-arg=--disable-overlap-schedule \
    --engine-arg=--mem-fraction-static=0.2 --engine-arg=--max-total-tokens=8192 --engine-arg=--skip-server-warmup

wait $making || { tail -n 20 "$scratch/vllm.log"; echo "real_engines: vLLM was not installed"; exit 1; }
making=
VLLM_HOST_IP=127.0.0.1 VLLM_CPU_KVCACHE_SPACE=1 judge vllm $vllm '' \
    --engine-arg=--max-model-len=2048 --engine-arg=--enforce-eager --engine-arg=--max-num-seqs=8 \
    '--engine-arg=--limit-mm-per-prompt={"image": 8}'
[ -z "$failed" ] || { echo "real_engines: FAILED:$failed"; exit 1; }
