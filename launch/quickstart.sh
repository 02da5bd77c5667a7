#!/usr/bin/env bash
# From a fresh machine to a trained and evaluated network in minutes: installs, then runs the main job.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    cat <<'EOF'
usage: launch/quickstart.sh [training options]

Installs distalex into .venv where that is not done, then trains a small AlexNet on real images with two processes, a
column each, evaluates it, draws some predictions and writes a page of it all. It needs no account and asks nothing. CIFAR-10 is used where DISTALEX_DATA or
data/ holds it or it can be downloaded; else scikit-learn's scanned digits, which need no network.

  launch/quickstart.sh                            about five minutes on two cores
  launch/quickstart.sh --train.max_steps=20       options are passed on to distalex.train
  DISTALEX_DATA=/data/sets launch/quickstart.sh   looks for CIFAR-10 there
  DATA=digits launch/quickstart.sh                takes the digits at once
EOF
}

readonly PROCESSES=2

say() { echo "== $*"; }

# Sets data to cifar10, or to digits where CIFAR-10 is not to be had; distalex.prepare has then said why, in a line.
choose_data() {
    local status=0
    data=${DATA:-cifar10}
    [ "$data" = cifar10 ] || return 0
    say "looking for CIFAR-10"
    .venv/bin/python -m distalex.prepare cifar10 || status=$?
    case $status in
        0) data=cifar10 ;;
        2)
            data=digits
            say "CIFAR-10 is not to be had here, so this run uses scikit-learn's scanned digits, which come with the installation"
            ;;
        *) exit "$status" ;;
    esac
}

train() {
    local cores
    cores=$(env -u OMP_NUM_THREADS nproc) # the cores this process may use; nproc would echo OMP_NUM_THREADS
    say "training on $data: $PROCESSES processes, each with one of the network's two columns"
    OMP_NUM_THREADS=$((cores > PROCESSES ? cores / PROCESSES : 1)) \
        .venv/bin/torchrun --standalone --nproc_per_node="$PROCESSES" -m distalex.train \
        --config="quickstart_$data" --parallel=model --name="$name" "$@"
}

evaluate() {
    say "evaluating on every test image"
    .venv/bin/python -m distalex.evaluate "$run" # on one process: a checkpoint knows no topology
}

predict() {
    say "predicting some test images"
    .venv/bin/python -m distalex.predict "$run" --save="$run/predictions.png"
}

report() {
    say "writing its page"
    .venv/bin/python -m distalex.report "$run"
}

say_what_next() {
    cat <<EOF
== done, $SECONDS s in all

  the run       $run
  its page      $run/report.html
  its images  $run/predictions.png
  its numbers   $run/metrics.jsonl

Try next, after  source .venv/bin/activate :
  python -m distalex.predict $run IMAGE.jpg
  torchrun --standalone --nproc_per_node=2 -m distalex.train --config=quickstart_$data --parallel=data   # the same curve on replicas
  python -m distalex.compare $run runs/OTHER                                                             # is it?
  python -m distalex.train --help
EOF
}

case "${1:-}" in
    -h | --help)
        usage
        exit
        ;;
esac

launch/setup.sh
name=quickstart-$(date +%Y%m%d-%H%M%S)
runs=runs
for option in "$@"; do
    case $option in --runs_dir=*) runs=${option#*=} ;; esac
done
run=$runs/$name
choose_data
train "$@"
evaluate
predict
report
say_what_next
