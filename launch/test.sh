#!/usr/bin/env bash
# Installs distalex unless it is installed, then runs its checks: style, types, tests.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    cat <<'EOF'
usage: launch/test.sh [pytest options]

Without options: ruff (lint and format), mypy, pip check and the whole test suite. Every check runs; the exit status is 0
only if all pass. With options: pytest alone, with these options and its exit status. Skipped tests are listed with the
reason: some need a GPU, a browser, network namespaces, or CIFAR-10 in the folder that DISTALEX_TEST_DATA names.

  launch/test.sh                        everything, two tests at a time
  launch/test.sh -n 2 -m 'not slow'     the quick tests, two at a time
  launch/test.sh tests/model -x

The long forms of two tests are commands, of an hour each:
  .venv/bin/python -m distalex.bench faults --kills=100
  .venv/bin/python -m distalex.bench soak --minutes=60
EOF
}

case "${1:-}" in
    -h | --help)
        usage
        exit
        ;;
esac

# A test opens a report in a browser, others make hosts with network namespaces; they are skipped where that is missing.
install_for_tests() { # COMMAND PACKAGE
    if command -v "$1" >/dev/null || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then return; fi
    echo "== installing $2 for the tests"
    env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends "$2" >".venv/logs/$2.log" 2>&1 ||
        echo "   cannot install $2 (see .venv/logs/$2.log)"
}

launch/setup.sh
[ $# -eq 0 ] || exec .venv/bin/python -m pytest "$@"

install_for_tests chromium chromium
install_for_tests tc iproute2
failed=()
check() { # NAME COMMAND...
    echo "== $1"
    "${@:2}" || failed+=("$1")
}
check "ruff check" .venv/bin/ruff check .
check "ruff format" .venv/bin/ruff format --check .
check "mypy" .venv/bin/mypy distalex
check "pip check" .venv/bin/python -m pip --disable-pip-version-check check # the lock file covers pyproject.toml
# Two workers, as most tests wait for processes to start. The longest tests come first, and a worker gets one test at a time.
check "pytest" .venv/bin/python -m pytest -n 2 --maxschedchunk=1 --durations=15
if [ ${#failed[@]} -gt 0 ]; then
    echo "launch/test.sh: failed: $(printf '%s, ' "${failed[@]}" | sed 's/, $//')" >&2
    exit 1
fi
