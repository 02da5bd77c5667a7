#!/usr/bin/env bash
# One node's part of a job over several: a thin wrapper around torchrun. Run it on every node, with the same options.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd) # no change of folder: a relative data.root is the caller's

# shellcheck source=launch/processes.sh
source "$here/launch/processes.sh"

usage() {
    cat <<'EOF'
usage: NNODES=2 HEAD=HOST launch/multinode.sh [training options]

Runs distalex.train under torchrun on this node, as a part of a job whose nodes meet at HEAD, one of them. Start it on every node,
in any order, with the same options. The folder of runs has to be shared by all nodes; the data may lie on each.

  NNODES    how many nodes, or 1:4 for what is there: fewer go on with the same batch, from the newest checkpoint
  HEAD      name or address of the node where they meet; port 29400, or HEAD=HOST:PORT, has to be open between the nodes
  NPROC     processes of this node; default: its GPUs, or one
  JOB       tells jobs that meet at one place apart; default: distalex
  RESTARTS  how often all processes start again after one has ended badly; default: 3

  NNODES=2 HEAD=node01 launch/multinode.sh --config=alexnet_paper --data.name=imagenet --data.root=/data/imagenet --name=big --checkpoint.resume=auto

With several network interfaces, name the one between the nodes: GLOO_SOCKET_IFNAME=eth1, and NCCL_SOCKET_IFNAME=eth1 for GPUs.
NCCL_DEBUG=INFO shows what NCCL chose. docs/running.md has more.
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

[[ ${NNODES:-} =~ ^[1-9][0-9]*(:[1-9][0-9]*)?$ ]] || die "NNODES=${NNODES:-}: give a number of nodes, or a least and a most such as 1:4"
[ -n "${HEAD:-}" ] || die "HEAD is missing: name the node where they meet, e.g. HEAD=node01"
choose_processes
[[ $HEAD == *:* ]] || HEAD=$HEAD:29400
# A store for each attempt: in one that is shared, processes that are started again would find the addresses of those that are gone.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
exec "$here/.venv/bin/torchrun" --nnodes="$NNODES" --nproc_per_node="$processes" --max-restarts="${RESTARTS:-3}" \
    --rdzv_backend=c10d --rdzv_endpoint="$HEAD" --rdzv_id="${JOB:-distalex}" -m distalex.train "$@"
