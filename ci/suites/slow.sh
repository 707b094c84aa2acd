#!/bin/sh
# Every test marked slow, in place of the quick ones.
cd "$(dirname -- "$0")/../.." && exec pytest -m "slow and not gpu and not browser" --timeout 1800
