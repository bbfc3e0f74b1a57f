#!/bin/sh
# Submit the array of array.sbatch, and one job that publishes the cube when it is over.
#
#     workflows/slurm/array.sh CAMPAIGN.toml STORE
set -eu
here=$(dirname "$0")
array=$(sbatch --parsable "$here/array.sbatch" "$1" "$2")
sbatch --dependency="afterany:$array" --job-name=kronsbl-publish --ntasks=1 --mem=2G \
  --time=00:10:00 --output=kronsbl-publish-%j.log --wrap "kronsbl publish '$2'"
