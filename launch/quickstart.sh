#!/usr/bin/env bash
# Installs distalex, then trains, evaluates, predicts and reports: from a fresh machine to a trained network in minutes.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

usage() {
    cat <<'EOF'
usage: launch/quickstart.sh [training options]

Installs distalex into .venv unless it is installed, trains a small AlexNet on real images with two processes, one
column each, evaluates it, draws predictions and writes a report. It needs no account and asks no questions. It uses
CIFAR-10 from DISTALEX_DATA or data/, or downloads it; else scikit-learn's scanned digits, which need no network.

  launch/quickstart.sh                            about five minutes on two cores
  launch/quickstart.sh --train.max_steps=20       passes options to distalex.train
  DISTALEX_DATA=/data/sets launch/quickstart.sh   looks for CIFAR-10 there
  DATA=digits launch/quickstart.sh                uses the digits
EOF
}

readonly PROCESSES=2

say() { echo "== $*"; }

# Sets data to cifar10, or to digits where CIFAR-10 is not available; distalex.prepare prints why.
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
            say "CIFAR-10 is not available: using scikit-learn's scanned digits, which are installed"
            ;;
        *) exit "$status" ;;
    esac
}

train() {
    local cores
    cores=$(env -u OMP_NUM_THREADS nproc) # the cores this process may use; nproc would echo OMP_NUM_THREADS
    say "training on $data: $PROCESSES processes, one column each"
    OMP_NUM_THREADS=$((cores > PROCESSES ? cores / PROCESSES : 1)) \
        .venv/bin/torchrun --standalone --local-addr=localhost --nproc_per_node="$PROCESSES" -m distalex.train \
        --config="quickstart_$data" --parallel=model --name="$name" "$@"
}

evaluate() {
    say "evaluating on every test image"
    .venv/bin/python -m distalex.evaluate "$run" # in one process: a checkpoint does not depend on the topology
}

predict() {
    say "predicting test images"
    .venv/bin/python -m distalex.predict "$run" --save="$run/predictions.png"
}

report() {
    say "writing the report"
    .venv/bin/python -m distalex.report "$run"
}

say_what_next() {
    cat <<EOF
== done in $SECONDS s

  run          $run
  report       $run/report.html
  predictions  $run/predictions.png
  metrics      $run/metrics.jsonl

Try next, after  source .venv/bin/activate :
  python -m distalex.predict $run IMAGE.jpg
  torchrun --standalone --nproc_per_node=2 -m distalex.train --config=quickstart_$data --parallel=data   # the same curve on replicas
  python -m distalex.compare $run runs/OTHER                                                             # compares the curves
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
