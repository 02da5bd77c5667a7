#!/usr/bin/env bash
# Starts this node's processes of a job on several nodes with torchrun. Run it on every node, with the same options.
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
  HEAD      host name or address of the rendezvous node; its port 29400, or HEAD=HOST:PORT, must be open to all nodes
  NPROC     processes on this node; default: its GPUs, or one
  JOB       rendezvous id, for several jobs at one HEAD; default: distalex
  RESTARTS  how often torchrun restarts all processes after a failure; default: 3

  NNODES=2 HEAD=node01 launch/multinode.sh --config=alexnet_paper --data.name=imagenet --data.root=/data/imagenet --name=big --checkpoint.resume=auto

With several network interfaces, set the one between the nodes: GLOO_SOCKET_IFNAME=eth1, and NCCL_SOCKET_IFNAME=eth1 for
GPUs. NCCL_DEBUG=INFO shows what NCCL chose. See docs/running.md.
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
choose_processes
[[ $HEAD == *:* ]] || HEAD=$HEAD:29400
# One store per restart: in a shared one, restarted processes would find the addresses of dead ones.
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1
exec "$here/.venv/bin/torchrun" --nnodes="$NNODES" --nproc_per_node="$processes" --max-restarts="${RESTARTS:-3}" \
    --rdzv_backend=c10d --rdzv_endpoint="$HEAD" --rdzv_id="${JOB:-distalex}" -m distalex.train "$@"
