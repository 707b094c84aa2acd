#!/bin/sh
# Planted faults of every family that the checks see at once: each must go on being seen. Then the engine as it is, of
# which nothing may be seen, from inside and over HTTP. All faults, survivors too: assay faults run --all
set -eu
cd "$(dirname -- "$0")/../.."
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
assay faults run F1-03 F1-05 F2-12 F2-15 F4-01 F4-13 F5-04 F6-03 F6-08 F9-07 expand-off-by-one \
    --quick --suite differential --suite benchmark --suite properties --out "$out/planted"
assay faults run --clean 1 --model random-qwen2.5-vl --suite differential --suite e2e --out "$out/clean"
