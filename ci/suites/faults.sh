#!/bin/sh
# A sample of the planted faults, judged from outside and inside: each must be seen. Then the engine as it is, of which
# nothing may be seen. All faults, and the whole matrix: assay faults run --all
set -eu
cd "$(dirname -- "$0")/../.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
assay faults run --all --every 8 --quick --suite differential --suite benchmark --suite properties --out "$out/planted"
assay faults run --clean 1 --model random-qwen2.5-vl --suite differential --suite e2e --out "$out/clean"
