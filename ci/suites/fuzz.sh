#!/bin/sh
# schemathesis against the server's own description: ci/suites/fuzz.sh [SECONDS [SEED]]
# No answer may be a 5xx or other than described, and no body that the description forbids may be accepted. That a body
# has the right form does not mean that it can be run: an id may be past the vocabulary, a text no image.
set -eu
cd "$(dirname -- "$0")/../.."
seconds=${1:-60}
scratch=$(mktemp -d)  # schemathesis keeps what it found in the folder it is run in
log=$scratch/log
python -m reference_engine --port 0 --max-prompt-tokens 512 --check-every-step on 2>"$log" &
server=$!
trap 'kill -9 $server 2>/dev/null || true; rm -rf "$scratch"' EXIT
until grep -q "^assay-engine ready on " "$log"; do
    kill -0 $server 2>/dev/null || { cat "$log"; exit 1; }
    sleep 0.2
done
url=$(sed -n 's/^assay-engine ready on \([^ ]*\).*/\1/p' "$log")

code=0
(cd "$scratch" && exec schemathesis run "$url/openapi.json" --exclude-checks positive_data_acceptance --phases coverage,fuzzing \
    --max-time "$seconds" --max-examples 1000 --seed "${2:-0}" --continue-on-failure --generation-database none \
    --no-color) || code=$?
python -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1] + "/health", timeout=5)' "$url" || code=1
kill -TERM $server
wait $server || { echo "fuzz: the server ended with $?"; code=1; }
if grep -A30 Traceback "$log"; then code=1; fi
exit $code
