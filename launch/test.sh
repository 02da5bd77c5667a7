#!/usr/bin/env bash
# Installs distalex where that is not done, then runs its checks: style, types, tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    cat <<'EOF'
usage: launch/test.sh [pytest options]

With no options: ruff (lint and format), mypy, pip check and the whole test-suite; every check runs, and the exit status
is 0 only if all passed. With options: pytest alone, with them; the exit status is pytest's.

  launch/test.sh                        everything
  launch/test.sh -m 'not slow'          the quick tests
  launch/test.sh tests/test_model.py -x
EOF
}

case "${1:-}" in
    -h | --help)
        usage
        exit
        ;;
esac

launch/setup.sh
[ $# -eq 0 ] || exec .venv/bin/python -m pytest "$@"

failed=()
check() { # NAME COMMAND...
    echo "== $1"
    "${@:2}" || failed+=("$1")
}
check "ruff check" .venv/bin/ruff check .
check "ruff format" .venv/bin/ruff format --check .
check "mypy" .venv/bin/mypy distalex
check "pip check" .venv/bin/python -m pip --disable-pip-version-check check # the lock file covers pyproject.toml
check "pytest" .venv/bin/python -m pytest -n 2 --durations=15 # two at once: most wait for processes to start
if [ ${#failed[@]} -gt 0 ]; then
    echo "launch/test.sh: failed: $(printf '%s, ' "${failed[@]}" | sed 's/, $//')" >&2
    exit 1
fi
