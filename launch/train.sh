#!/usr/bin/env bash
# Starts one training process per GPU of this machine with torchrun.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) # stays in the caller's folder: a relative data.root is the caller's

# shellcheck source=launch/processes.sh
source "$here/launch/processes.sh"

usage() {
    cat <<'EOF'
usage: launch/train.sh [training options]

Runs distalex.train under torchrun with one process per GPU (of CUDA_VISIBLE_DEVICES where it is set), or one process on
the CPU. Run launch/setup.sh first.

  launch/train.sh --config=seed_cifar10
  NPROC=2 launch/train.sh --config=seed_cifar10 --parallel=model    two processes
  .venv/bin/python -m distalex.train --help                         the training options
EOF
}

die() {
    echo "launch/train.sh: $*" >&2
    exit 2
}

case "${1:-}" in
    -h | --help)
        usage
        exit
        ;;
esac

choose_processes
# The address, as torchrun would wait for minutes where this host's own name has none.
exec "$here/.venv/bin/torchrun" --standalone --local-addr=localhost --nproc_per_node="$processes" -m distalex.train "$@"
