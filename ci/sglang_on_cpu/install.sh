#!/bin/sh
# ci/sglang_on_cpu/install.sh PYTHON: make the SGLang of that environment run on a CPU. Does nothing the second time.
set -eu
site=$("$1" -c 'import sysconfig; print(sysconfig.get_paths()["purelib"])')
here=$(dirname -- "$0")
cp -r "$here/sgl_kernel" "$here/sglang_on_cpu.py" "$site/"
echo 'import sglang_on_cpu' >"$site/sglang_on_cpu.pth"
