#!/usr/bin/env bash
# Creates the environment of requirements.lock in .venv; launch/test.sh and launch/quickstart.sh run it first.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD

usage() {
    cat <<'EOF'
usage: launch/setup.sh

Installs distalex and everything it needs into .venv, at the versions of requirements.lock. Missing Debian packages are
installed with apt-get if this user is root or has sudo without a password; otherwise the script prints the command.
Safe to repeat: a finished environment takes under a second, an interrupted one is created again.

  PYTHON=python3.12 launch/setup.sh    use this interpreter (3.10 or newer); default: python3, then python3.13 to 3.10
EOF
}

readonly OLDEST=3.10      # Python
readonly NEEDED_GB=10     # .venv takes 6.5 GB; the rest is an estimate of pip's downloads while it unpacks them
readonly LOGS=.venv/logs
readonly UNFINISHED=.venv/.unfinished   # exists from the first change of .venv to the last
readonly FINISHED=.venv/.finished       # the fingerprint of what .venv was made from
# PyTorch and its CUDA libraries: nine tenths of the bytes, so one pip unpacks them while another installs the rest.
readonly TORCH_STACK='^(torch|torchvision|triton|nvidia-[a-z0-9-]+|cuda-[a-z0-9-]+)=='

export LC_ALL=C.UTF-8 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 PIP_USER=0

say() { echo "== $*"; }

# A failure that the user can fix: one line, status 2.
die() {
    echo "launch/setup.sh: $*" >&2
    exit 2
}

# fail LOG WHAT: prints a known cause that the log shows, else the end of the log.
fail() {
    if grep -qiE 'no space left on device|disk quota exceeded' "$1"; then
        die "the disk is full: make about $NEEDED_GB GB free for $root and run this again"
    elif grep -qiE 'temporary failure|could not resolve|name or service not known|network is unreachable|no route to host|failed to establish a new connection|connection (timed out|refused|reset)|read timed out|could not connect' "$1" &&
        ! grep -q 'subprocess-exited-with-error' "$1"; then # pip had what it needed, and the compiler failed
        die "$2 failed: no network, or none that reaches the package servers; connect (behind a proxy: set https_proxy) and run this again"
    fi
    { echo "---- the end of $root/$1"; tail -n 25 "$1"; echo "----"; } >&2
    echo "launch/setup.sh: $2 failed; the whole log: $root/$1" >&2
    exit 1
}

# Prints the version ("3.11") of an interpreter that runs.
version_of() { "$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

new_enough() { [ "$(printf '%s\n' "$OLDEST" "$1" | sort -V | head -n 1)" = "$OLDEST" ]; }

fingerprint() {
    cat requirements.lock pyproject.toml <(.venv/bin/python -c 'import sys; print(sys.version, sys.executable)') | sha256sum
}

is_finished() {
    [ -e "$FINISHED" ] && [ ! -e "$UNFINISHED" ] || return 1
    [ -z "${PYTHON:-}" ] || [ "$(version_of "$PYTHON")" = "$(version_of .venv/bin/python)" ] || return 1
    [ "$(fingerprint 2>/dev/null)" = "$(cat "$FINISHED")" ]
}

# Only one setup runs in a clone. Children keep the lock open, so a new script waits for those of a killed one.
take_turn() {
    touch .venv.lock 2>/dev/null || die "$root: cannot write; run this as its owner, or clone it where you may write"
    command -v flock >/dev/null || return 0
    exec 9>>.venv.lock
    flock -n 9 && return
    say "waiting for another setup in this clone"
    flock 9
}

# Sets python to the interpreter to use, or to nothing where there is none.
find_python() {
    local name version found=""
    python=""
    if [ -n "${PYTHON:-}" ]; then
        version=$(version_of "$PYTHON") || die "PYTHON=$PYTHON does not run: set Python $OLDEST or newer"
        new_enough "$version" || die "PYTHON=$PYTHON is Python $version: $OLDEST or newer is needed"
        python=$PYTHON
        return
    fi
    for name in python3 python3.13 python3.12 python3.11 python3.10; do
        version=$(version_of "$name") || continue
        if new_enough "$version"; then
            python=$name
            return
        fi
        found="$found, $name is $version"
    done
    [ -z "$found" ] || die "Python $OLDEST or newer is needed: ${found#, }; install one, or set it: PYTHON=/path/to/python $0"
}

# Removes a broken .venv that this script made. A .venv made by hand is kept and completed.
discard_broken_environment() {
    [ -d .venv ] || return 0
    local version=""
    version=$(version_of .venv/bin/python) || true
    if [ -e "$UNFINISHED" ]; then
        [ ! -e .venv/bin ] || say "removing an unfinished .venv"
    elif [ -e "$FINISHED" ] && [ "$(.venv/bin/pip --version 2>/dev/null | grep -cF "$root/.venv/")" != 1 ]; then
        say "removing a .venv that was made elsewhere or has lost its Python"
    elif [ -e "$FINISHED" ] && [ -n "${PYTHON:-}" ] && [ "$version" != "$(version_of "$PYTHON")" ]; then
        say "removing the .venv of Python $version: PYTHON is another version"
    elif [ -z "$version" ]; then
        die "$root/.venv is not a Python environment, and this script did not make it: move it away"
    elif ! new_enough "$version"; then
        die "$root/.venv has Python $version, and $OLDEST or newer is needed: move it away"
    elif [ -n "${PYTHON:-}" ] && [ "$version" != "$(version_of "$PYTHON")" ]; then
        die "$root/.venv has Python $version, PYTHON is another version, and this script did not make it: move it away"
    else
        return 0
    fi
    rm -rf .venv
}

check_disk() {
    local free_gb
    [ -d .venv/lib ] && return # .venv is only completed: pip reports a full disk
    free_gb=$(($(df -Pk . | awk 'NR == 2 { print $4 }') / 1000000))
    [ "$free_gb" -ge "$NEEDED_GB" ] || die "$root has $free_gb GB of free disk and about $NEEDED_GB GB are needed: free some, or clone elsewhere"
}

# Prints the Debian packages that this machine needs. It checks for what they provide, since a compiler or an OpenCV
# installed another way is as good.
missing_packages() {
    local of_python=python3 is_debians=1 version
    command -v pkg-config >/dev/null || echo pkg-config
    command -v g++ >/dev/null || echo g++
    pkg-config --exists opencv4 2>/dev/null || echo libopencv-dev
    pkg-config --exists libturbojpeg 2>/dev/null || echo libturbojpeg0-dev
    if [ -z "$python" ]; then
        echo python3 python3-dev python3-venv
        return
    fi
    version=$(version_of "$python")
    [ "$version" = "$(version_of /usr/bin/python3)" ] || of_python=python$version
    "$python" -c 'import sys; sys.exit(sys.base_prefix != "/usr")' || is_debians=""
    if ! "$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_path("include") + "/Python.h"))'; then
        [ -n "$is_debians" ] || die "$python has no Python.h, which building FFCV needs: install its headers, or set another PYTHON"
        echo "$of_python-dev"
    fi
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        [ -n "$is_debians" ] || die "$python has no venv or ensurepip module: set another PYTHON"
        echo "$of_python-venv"
    fi
}

install_system_packages() {
    local packages as_root=() log=$LOGS/apt.log
    packages=$(missing_packages | xargs) # one line
    [ -n "$packages" ] || return 0
    command -v apt-get >/dev/null || die "system packages are missing, and there is no apt-get: install a C++ compiler, pkg-config, the development files of OpenCV 4 and libjpeg-turbo (TurboJPEG), and Python $OLDEST or newer with its headers and venv (missing, by Debian's names: $packages)"
    if [ "$(id -u)" != 0 ]; then
        as_root=(sudo -n)
        "${as_root[@]}" true 2>/dev/null || die "system packages are missing, and installing them needs root; run this, then run setup again: sudo sh -c 'apt-get update && apt-get install -y --no-install-recommends $packages'"
    fi
    say "installing system packages: $packages"
    mkdir -p "$LOGS" && touch "$UNFINISHED"
    # shellcheck disable=SC2086 # a list of words
    wait_for "apt-get" "$log" apt_install "$log" $packages
    [ -n "$python" ] || find_python # apt-get has just installed it
    packages=$(missing_packages | xargs)
    [ -z "$packages" ] || die "still missing after apt-get installed its packages: $packages"
}

apt_install() {
    local log=$1
    shift
    exec 9>&- >"$log" 2>&1 # a service that a package starts must not keep the lock
    local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1 apt-get -q -o DPkg::Lock::Timeout=600)
    "${as_root[@]}" dpkg --configure -a || true # completes an interrupted apt-get
    "${apt[@]}" update || true                  # a broken third-party list does not matter; install fails if it does
    "${apt[@]}" install -y --no-install-recommends "$@"
}

pip_install() { .venv/bin/python -m pip install -q --no-deps "$@"; } # the lock file is complete: nothing to resolve

install_torch() { pip_install -r .venv/tmp/torch.txt >"$LOGS/torch.log" 2>&1; }

# FFCV is always compiled, not taken from pip's cache: a wheel built against another release's OpenCV does not load.
install_the_rest() {
    exec >"$LOGS/packages.log" 2>&1
    pip_install "$(grep -oE '^setuptools==[^ ;]+' requirements.lock)"
    LDFLAGS="-Wl,--as-needed ${LDFLAGS:-}" pip_install --use-pep517 --no-build-isolation --no-cache-dir \
        "$(grep -oE '^ffcv==[^ ;]+' requirements.lock)"
    pip_install --use-pep517 --no-build-isolation -r .venv/tmp/rest.txt
}

# wait_for WHAT LOG COMMAND...: runs COMMAND, prints its progress, and exits with the reason if it fails.
wait_for() {
    start "${@:3}"
    finish "$1" "$2"
}

jobs_running=()

# Each job leads its own process group, so that it can be stopped with its children.
start() {
    set -m
    "$@" </dev/null &
    jobs_running+=($!)
    set +m
}

stop_jobs() {
    local job
    for job in "${jobs_running[@]}"; do kill -TERM -- "-$job" 2>/dev/null || true; done
    wait 2>/dev/null || true
}

# finish WHAT LOG [WHAT LOG]: waits for the jobs; WHAT and LOG are in the order of starting.
finish() {
    local began=$SECONDS spoke=$SECONDS job i left=1
    local -A ended=()
    while [ "$left" -gt 0 ]; do
        left=0
        for i in "${!jobs_running[@]}"; do
            job=${jobs_running[i]}
            [ -z "${ended[$job]:-}" ] || continue
            if kill -0 "$job" 2>/dev/null; then
                left=$((left + 1))
            elif wait "$job"; then
                ended[$job]=1
            else
                stop_jobs
                clear_line
                fail "${@:i * 2 + 2:1}" "${@:i * 2 + 1:1}"
            fi
        done
        if [ -t 1 ] && ((SECONDS > spoke + 1)); then
            printf '\r   %s ' "$(progress "$began")"
            spoke=$SECONDS
        elif ((SECONDS > spoke + 29)); then
            echo "   $(progress "$began")"
            spoke=$SECONDS
        fi
        sleep 0.3
    done
    jobs_running=()
    clear_line
    echo "   $((SECONDS - began)) s"
}

progress() { echo "$((SECONDS - $1)) s$([ ! -d .venv/lib ] || du -sh .venv 2>/dev/null | sed 's/\t.*//; s/^/, .venv holds /')"; }

clear_line() { [ ! -t 1 ] || printf '\r%40s\r' ''; }

interrupted() {
    stop_jobs
    echo "launch/setup.sh: interrupted; run it again to continue" >&2
    exit "$1"
}

make_environment() {
    mkdir -p "$LOGS" .venv/tmp
    touch "$UNFINISHED"
    trap 'rm -rf .venv/tmp' EXIT
    export TMPDIR=$root/.venv/tmp # /tmp may be a small memory disk, and PyTorch's wheels are gigabytes
    say "creating .venv with $($python --version): downloading and installing PyTorch (6.5 GB on disk), compiling FFCV, installing the rest"
    [ -e .venv/bin/pip ] || "$python" -m venv .venv >"$LOGS/venv.log" 2>&1 || fail "$LOGS/venv.log" "creating .venv"
    grep -E "$TORCH_STACK" requirements.lock >.venv/tmp/torch.txt
    grep -vE "$TORCH_STACK|^(ffcv|setuptools)==|^#" requirements.lock >.venv/tmp/rest.txt
    start install_torch
    start install_the_rest
    finish "installing PyTorch" "$LOGS/torch.log" "installing FFCV and the rest" "$LOGS/packages.log"
    unset TMPDIR
}

install_distalex() {
    say "installing distalex and testing its imports"
    pip_install --no-build-isolation -e . >"$LOGS/distalex.log" 2>&1 || fail "$LOGS/distalex.log" "installing distalex"
    wait_for "the import test" "$LOGS/check.log" try_imports
}

try_imports() { .venv/bin/python -c 'import torch, torchvision, ffcv, distalex' >"$LOGS/check.log" 2>&1; }

main() {
    if is_finished; then return; fi
    [ "$(uname -s)" = Linux ] || die "FFCV builds on Linux only, and this is $(uname -s)"
    take_turn
    if is_finished; then return; fi # the other setup finished it
    trap 'interrupted 130' INT
    trap 'interrupted 143' TERM HUP
    find_python # before anything is removed: it may find none
    discard_broken_environment
    [ ! -d .venv/bin ] || python=.venv/bin/python
    check_disk
    install_system_packages
    make_environment
    install_distalex
    fingerprint >"$FINISHED"
    rm -f "$UNFINISHED"
    say "ready: $root/.venv, in $SECONDS s"
}

case "${1:-}" in
    "") main ;;
    -h | --help) usage ;;
    *) die "unknown argument $1; see launch/setup.sh --help" ;;
esac
