#!/usr/bin/env bash
# Starts this node's processes of a job on several nodes with torchrun (launch/node.py). Run it on every node, with the same options.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) # stays in the caller's folder: a relative data.root is the caller's

# shellcheck source=launch/processes.sh
source "$here/launch/processes.sh"

usage() {
    cat <<'EOF'
usage: NNODES=2 HEAD=HOST launch/multinode.sh [training options]

Runs distalex.train under torchrun on this node. Start it on every node, in any order, with the same options. All nodes
need the same runs_dir; each may have its own copy of the data.

  NNODES    number of nodes, or a range such as 1:4: fewer nodes continue with the same batch, from the newest checkpoint
  HEAD      name or address of the node where all meet, as every node can reach it; port 29400, or HEAD=HOST:PORT, must be open
  NPROC     processes on this node; default: its GPUs, or one
  JOB       id, for several jobs at one HEAD; default: the run's --name, or distalex
  RESTARTS  how often torchrun restarts all processes after a failure; default: 3
  WAIT      seconds to wait for the head and for the other nodes at the start; default: 300
  GRACE     seconds without a training process after which a node gives up, as when the head is lost; default: 30

  NNODES=2 HEAD=node01 launch/multinode.sh --config=alexnet_paper --data.name=imagenet --data.root=/data/imagenet --name=big --checkpoint.resume=auto

Processes use the interface that leads to HEAD; GLOO_SOCKET_IFNAME=eth1, and NCCL_SOCKET_IFNAME=eth1 for GPUs, set another.
NCCL_DEBUG=INFO shows what NCCL chose. See docs/running.md.
EOF
}

die() {
    echo "launch/multinode.sh: $*" >&2
    exit 2
}

case "${1:-}" in
    -h | --help)
        usage
        exit
        ;;
esac

[[ ${NNODES:-} =~ ^[1-9][0-9]*(:[1-9][0-9]*)?$ ]] || die "NNODES=${NNODES:-}: set a number of nodes, or a range such as 1:4"
[ -n "${HEAD:-}" ] || die "HEAD is missing: set the rendezvous node, e.g. HEAD=node01"
for name in RESTARTS WAIT GRACE; do
    [[ ${!name-1} =~ ^[0-9]+$ ]] || die "$name=${!name}: set a number"
done
choose_processes
for option in "$@"; do
    case "$option" in
        --name=*) JOB=${JOB:-${option#--name=}} ;;
    esac
done
NPROC=$processes JOB=${JOB:-distalex} exec "$here/.venv/bin/python" "$here/launch/node.py" "$@"
