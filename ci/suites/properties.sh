#!/bin/sh
# The properties with many more examples than in a quick run, other ones every time.
cd "$(dirname -- "$0")/../.." && exec pytest property_tests --hypothesis-profile nightly --timeout 1800
