#!/usr/bin/env bash
# Runs launch/slurm.sbatch for real: a SLURM of one node on this machine, a job whose time limit is shorter than its training, and the
# same job finishing after it went back into the queue. Needs root and Debian's slurm-wlm and munge, which it installs; takes some minutes.
# It starts daemons and writes /etc/slurm/slurm.conf: meant for a machine or container that is thrown away.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
[ -x .venv/bin/torchrun ] || launch/setup.sh
command -v slurmctld munged >/dev/null || {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq slurm-wlm munge
}

name=$(hostname -s)
mkdir -p /etc/slurm /var/spool/slurm/ctld /var/spool/slurm/d /run/munge
chown munge: /run/munge
cat >/etc/slurm/slurm.conf <<EOF
ClusterName=one
SlurmctldHost=$name
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
StateSaveLocation=/var/spool/slurm/ctld
SlurmdSpoolDir=/var/spool/slurm/d
SlurmctldLogFile=/var/log/slurmctld.log
SlurmdLogFile=/var/log/slurmd.log
SelectType=select/cons_tres
SchedulerParameters=requeue_setup_env_fail
JobRequeue=1
KillWait=30
MinJobAge=3600
NodeName=$name CPUs=$(nproc) State=UNKNOWN
PartitionName=all Nodes=$name Default=YES MaxTime=INFINITE State=UP
EOF
pgrep munged >/dev/null || runuser -u munge -- munged
slurmctld -c
slurmd -c
for _ in $(seq 60); do sinfo -h -o %T 2>/dev/null | grep -q idle && break; sleep 1; done
sinfo

log=$PWD/slurm-requeue.log
rm -f "$log"
# SLURM's least time limit is a minute; the signal comes up to a minute early, so the job has about 45 s each time.
job=$(sbatch --parsable --time=2 --signal=B:USR1@45 --cpus-per-task="$(nproc)" --output="$log" launch/slurm.sbatch \
    --config=digits --data.image_size=64 --train.epochs="${EPOCHS:-14}" --log.wandb=disabled)
for _ in $(seq 900); do
    state=$(scontrol show job "$job" | grep -o 'JobState=[A-Z_]*')
    case $state in JobState=COMPLETED | JobState=FAILED | JobState=TIMEOUT | JobState=CANCELLED) break ;; esac
    sleep 1
done
scontrol show job "$job" | grep -E 'JobState|Restarts|RunTime'
cat "$log"
grep -q "job $job: requeued" "$log" && grep -q 'resuming from step' "$log" && [ "$state" = JobState=COMPLETED ]
