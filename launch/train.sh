#!/usr/bin/env bash
# One training process for each GPU of this machine: a thin wrapper around torchrun.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) # no change of folder: a relative data.root is the caller's

usage() {
    cat <<'EOF'
usage: launch/train.sh [training options]

Runs distalex.train under torchrun with as many processes as this machine has GPUs (those of CUDA_VISIBLE_DEVICES where
that is set), or one on the CPU. Run launch/setup.sh first.

  launch/train.sh --config=seed_cifar10
  NPROC=2 launch/train.sh --config=seed_cifar10 --parallel=model    that many processes
  .venv/bin/python -m distalex.train --help                         the training options
EOF
}

die() {
    echo "launch/train.sh: $*" >&2
    exit 2
}

count_gpus() {
    if [ -n "${CUDA_VISIBLE_DEVICES+set}" ]; then
        tr ',' '\n' <<<"$CUDA_VISIBLE_DEVICES" | grep -cE '^[^-]' || true # "" and "-1" hide every GPU
    else
        { nvidia-smi -L 2>/dev/null || true; } | grep -c '^GPU' || true
    fi
}

case "${1:-}" in
    -h | --help)
        usage
        exit
        ;;
esac

[ -x "$here/.venv/bin/torchrun" ] || die "nothing is installed yet: run $here/launch/setup.sh"
processes=${NPROC:-$(count_gpus)}
[[ $processes =~ ^[0-9]+$ ]] || die "NPROC=$processes is not a number of processes"
((processes > 0)) || processes=1
cores=$(env -u OMP_NUM_THREADS nproc) # the cores this process may use
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores > processes ? cores / processes : 1))}
exec "$here/.venv/bin/torchrun" --standalone --nproc_per_node="$processes" -m distalex.train "$@"
