#!/bin/bash
# Trains one system on the GPUs of one or more nodes:
#
#   sbatch cluster/slurm.sh iu_xray/cmn --profile gpu --data-root FOLDER
#   sbatch --nodes=1 --gpus-per-node=8 cluster/slurm.sh mimic_cxr/cmn --profile gpu --data-root FOLDER --set training.batch_size=64
#
# What stands after the script's name goes to `rrg train`. The processes share each batch of training.batch_size studies, so there can't be more of
# them than that. Submit it where `rrg` and `torchrun` are on PATH (an activated environment), with RRG_HOME on a disk that all nodes share.
# Two minutes before its time is up the job puts itself back into the queue; the same command then goes on from the last checkpoint.
#
# This script was never run on a SLURM cluster: its syntax, its launch line and its way back into the queue are tested with stand-ins for srun and
# scontrol (tests/tools/test_cluster_files.py). Names of partitions and accounts are your cluster's: add them here or after `sbatch`.

#SBATCH --job-name=rrg
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=4
#SBATCH --cpus-per-task=16
#SBATCH --mem=64G
#SBATCH --time=04:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=rrg-%j.log

set -euo pipefail

: "${SLURM_JOB_ID:?this is a job script; start it with: sbatch cluster/slurm.sh DATASET/PRESET --profile gpu}"
if (($# == 0)); then
    echo "say what to train: sbatch cluster/slurm.sh DATASET/PRESET --profile gpu" >&2
    exit 2
fi
: "${SLURM_GPUS_ON_NODE:?no GPU was asked for: sbatch --gpus-per-node=N …}"
if ! rrg=$(command -v rrg); then
    echo "rrg is not on PATH: activate the environment it is installed in, then submit again" >&2
    exit 2
fi

nodes=$(scontrol show hostnames "$SLURM_JOB_NODELIST")
first_node=${nodes%%$'\n'*}
port=$((20000 + SLURM_JOB_ID % 20000)) # jobs that meet on a node don't take each other's
threads=$((${SLURM_CPUS_PER_TASK:-1} / SLURM_GPUS_ON_NODE))
export OMP_NUM_THREADS=$((threads > 0 ? threads : 1))

again=no
back_into_the_queue() {
    echo "job $SLURM_JOB_ID: the time is nearly up; it goes on later from its last checkpoint"
    again=yes
    scontrol requeue "$SLURM_JOB_ID"
}
trap back_into_the_queue USR1

# One launcher a node, which starts a process for each of its GPUs; `--` keeps torchrun's hands off the options of rrg.
srun --kill-on-bad-exit=1 torchrun \
    --nnodes "$SLURM_JOB_NUM_NODES" \
    --nproc_per_node "$SLURM_GPUS_ON_NODE" \
    --rdzv_id "$SLURM_JOB_ID" \
    --rdzv_backend c10d \
    --rdzv_endpoint "$first_node:$port" \
    -- "$rrg" train "$@" &
training=$!

status=0
wait "$training" || status=$?
if [[ $again == yes ]]; then # the signal ended the waiting, not the training
    status=0
    wait "$training" || status=$?
fi
exit "$status"
