# shellcheck shell=bash disable=SC2154 # the caller sets here
# Sourced by the scripts that start torchrun; they define `die` and `here`.

count_gpus() {
    if [ -n "${CUDA_VISIBLE_DEVICES+set}" ]; then
        tr ',' '\n' <<<"$CUDA_VISIBLE_DEVICES" | grep -cE '^[^-]' || true # "" and "-1" hide every GPU
    else
        { nvidia-smi -L 2>/dev/null || true; } | grep -c '^GPU' || true
    fi
}

# Sets processes to NPROC, this node's GPUs, or one, and OMP_NUM_THREADS to each one's share of the cores.
choose_processes() {
    local cores
    [ -x "$here/.venv/bin/torchrun" ] || die "not installed: run $here/launch/setup.sh"
    processes=${NPROC:-$(count_gpus)}
    [[ $processes =~ ^[0-9]+$ ]] || die "NPROC=$processes: set a number of processes"
    ((processes > 0)) || processes=1
    cores=$(env -u OMP_NUM_THREADS nproc) # the cores this process may use
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((cores > processes ? cores / processes : 1))}
}
