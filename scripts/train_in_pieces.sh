#!/usr/bin/env bash
# Train a model in pieces on a machine that is lent for minutes at a time.
#
#   scripts/train_in_pieces.sh CONFIG RUN_FOLDER [MINUTES] [EXTRA OPTIONS OF hdsmlm train ...]
#
# RUN_FOLDER holds the state between the pieces (config.yaml, checkpoint.npz, validation.json, in the
# end bundle/): bring it to the machine before a piece and back after it. Each call trains for MINUTES
# (default 8, so that start, validation and the transfer fit into ten) and ends with a checkpoint;
# the call after the last step writes the bundle. Exit status: 0 the bundle is there, 3 call again.
set -euo pipefail
config=$1
run=$2
minutes=${3:-8}
shift $(($# < 3 ? $# : 3))

python -m hdsmlm train "$config" --out "$run" --max-minutes "$minutes" "$@"
if [ -f "$run/bundle/bundle.yaml" ]; then
    echo "complete: $run/bundle"
else
    echo "to be continued: call this script again with the same run folder"
    exit 3
fi
