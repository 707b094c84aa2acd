#!/bin/sh
# The properties with many more examples than in a quick run: ci/suites/properties.sh [SEED]
# The seed is fixed unless one is given, so that a change is never blamed for what another draw would have found.
cd "$(dirname -- "$0")/../.." && exec pytest property_tests --hypothesis-profile nightly --hypothesis-seed "${1:-0}" --timeout 1800
