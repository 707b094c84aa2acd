#!/bin/sh
# Clients that others wrote, unchanged, against the server with a packaged sentinel: the official openai client, the
# README's curl lines, an evaluation harness (lm-eval) and a load generator (guidellm); and a task of lm-eval's, asked by
# `assay accuracy`'s own adapter. They are installed into an
# environment of their own, which sees everything of the active one: about 600 MB and two minutes, the first time.
# CLIENTS_VENV=/path puts it somewhere else than .venv-clients.
set -eu
cd "$(dirname -- "$0")/../.."
packages='openai==3.57.0 lm-eval[api]==0.4.13 guidellm==0.8.1'
venv=${CLIENTS_VENV:-.venv-clients}
if [ "$(cat "$venv/installed" 2>/dev/null)" != "$packages" ]; then
    python -m venv --clear "$venv"
    where='import sysconfig; print(sysconfig.get_paths()["purelib"])'
    echo "import site; site.addsitedir('$(python -c "$where")')" >"$("$venv/bin/python" -c "$where")/active.pth"
    # shellcheck disable=SC2086
    "$venv/bin/python" -m pip install -q --disable-pip-version-check $packages
    echo "$packages" >"$venv/installed"
fi
venv=$(cd "$venv" && pwd)

work=$(mktemp -d)
export HF_HOME="$work/hf" HF_HUB_OFFLINE=1 HF_DATASETS_OFFLINE=1 OMP_NUM_THREADS=1 NO_COLOR=1
python -m reference_engine --model sentinel-qwen2.5-vl --port 0 2>"$work/server.log" &
server=$!
trap 'kill $server 2>/dev/null; rm -rf "$work"' EXIT
url=
while [ -z "$url" ]; do
    kill -0 $server 2>/dev/null || { cat "$work/server.log"; echo "clients: FAILED, the server did not start"; exit 1; }
    sleep 0.5
    url=$(sed -n 's/.*ready on \(http[^ ]*\).*/\1/p' "$work/server.log")
done

failed=
for client in openai_client readme_lines evaluation_harness load_generator; do
    if PATH="$venv/bin:$PATH" "$venv/bin/python" "ci/clients/$client.py" "$url" "$work" >"$work/$client.log" 2>&1; then
        echo "clients: $client passed"
    else
        tail -n 40 "$work/$client.log"
        echo "clients: $client FAILED"
        failed=yes
    fi
done
"$venv/bin/python" -m pytest -n0 -q -p no:cacheprovider tests/harness/tasks/test_evaluation_harness.py || failed=yes
if grep -q Traceback "$work/server.log"; then
    cat "$work/server.log"
    failed=yes
fi
[ -z "$failed" ]
