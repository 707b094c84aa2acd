#!/bin/sh
# The main job as a person runs it, then once more with a fault planted, which must turn it red.
# Records and pages go into the folder given as argument; without one they are thrown away.
set -u
out=${1:-}
if [ -z "$out" ]; then
    out=$(mktemp -d)
    trap 'rm -rf "$out"' EXIT
fi

assay run --out "$out/green"
code=$?
case $code in
    0) ;;
    3) echo "main_job: this machine's figures cannot tell; every other check passed" ;;
    *) echo "main_job: FAILED, assay run ended with $code"; exit 1 ;;
esac
ls "$out"/green/*.json "$out"/green/*.html || exit 1

assay run --plant F1-01 --out "$out/red"
code=$?
[ "$code" -eq 1 ] || { echo "main_job: FAILED, the planted fault ended with $code, not 1"; exit 1; }
echo "main_job: green as it is, red with the fault planted"
