#!/usr/bin/env bash
# Make the binned recordings that configs/pandas.yaml names.
#
#   scripts/make_pandas_data.sh SCMOS_MOVIE SCMOS_PIXEL_NM PMHC_MOVIE PMHC_PIXEL_NM [OUT]
#
# SCMOS_MOVIE is a sparse STORM movie of an sCMOS camera, PMHC_MOVIE one of single molecules of an
# EMCCD camera; a pixel is given in nm. OUT (default: binned) gets the folders scmos_bin5,
# scmos_bin10, pmhc_bin5, pmhc_bin10, virtual_bin5 and virtual_bin10. The two real movies have few
# frames, so that their summands are turned, mirrored and shifted (--augment). SCMOS_OPTIONS and
# PMHC_OPTIONS are passed on to `hdsmlm bin`, e.g. SCMOS_OPTIONS="--camera camera.yaml".
# A folder that is there already is left alone.
set -euo pipefail
if [ $# -lt 4 ]; then
    sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
scmos=$1
scmos_pixel_nm=$2
pmhc=$3
pmhc_pixel_nm=$4
out=${5:-binned}
read -r -a scmos_options <<<"${SCMOS_OPTIONS:-}"
read -r -a pmhc_options <<<"${PMHC_OPTIONS:-}"

bin() { # NAME MOVIE FACTOR OPTIONS...
    local folder=$out/$1_bin$3
    if [ -f "$folder/binning.yaml" ]; then
        echo "$folder is there"
        return
    fi
    python -m hdsmlm bin "$2" --factor "$3" --out "$folder" "${@:4}"
}

if [ ! -f "$out/sparse_virtual/movie.tif" ]; then
    # 4000 frames of single molecules; its seed belongs to no test or validation set.
    python -m hdsmlm simulate --out "$out/sparse_virtual" --frames 4000 --size 128x128 \
        --density 0.15 --photons 1500 --background 20 --sigma-px 1.3 --pixel-size-nm 100 \
        --camera emccd --psf gaussian --structure uniform --seed 41
fi
for factor in 5 10; do
    bin scmos "$scmos" "$factor" --augment --pixel-size-nm "$scmos_pixel_nm" --sequences 200 \
        ${scmos_options[@]+"${scmos_options[@]}"}
    bin pmhc "$pmhc" "$factor" --augment --pixel-size-nm "$pmhc_pixel_nm" --sequences 200 \
        ${pmhc_options[@]+"${pmhc_options[@]}"}
    bin virtual "$out/sparse_virtual/movie.tif" "$factor" \
        --camera "$out/sparse_virtual/camera.yaml" --augment --sequences 200
done
