#!/bin/sh
# Lint, format, types and import rules; every check runs, the exit code is 1 if any failed.
set -u
cd "$(dirname -- "$0")/.." || exit 2
code=0
ruff check . || code=1
ruff format --check . || code=1
mypy || code=1
lint-imports || code=1
exit $code
