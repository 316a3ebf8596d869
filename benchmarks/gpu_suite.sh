#!/usr/bin/env bash
# Everything that needs one GPU, in order of value; each piece runs alone in under 8 minutes, all of them in about 25.
# Full logs go to --output; short tables and one JSON line come last. A piece that fails is said and passed over.
#   [PYTHON=python3] bash benchmarks/gpu_suite.sh [--output DIR] [--minutes N] [--device cuda] [--small] [PIECE ...]
# --minutes: a piece that would still run after them is cut or not begun, and the tables are printed in time.
# --small, with --device cpu, shows that every command runs.
set -u
cd "$(dirname "$0")/.."
out=logs/gpu minutes=25 device=cuda small= pieces=()
while [ $# -gt 0 ]; do
    case $1 in
        --output) out=$2; shift 2 ;;
        --minutes) minutes=$2; shift 2 ;;
        --device) device=$2; shift 2 ;;
        --small) small=--small; shift ;;
        *) pieces+=("$1"); shift ;;
    esac
done
mkdir -p "$out"
python=${PYTHON:-python3}
export PYTHONUNBUFFERED=1 PYTHONPATH="${PYTHONPATH:-}:.:pipelines:weights:kernels:benchmarks"

SHORTEST_S=45  # in less no piece gets past loading
wanted() { [ ${#pieces[@]} -eq 0 ] || [[ " ${pieces[*]} " == *" $1 "* ]]; }

step() {
    local name=$1 limit_s=$2
    shift 2
    wanted "$name" || return 0
    local left_s=$((minutes * 60 - SECONDS - 10))
    if [ "$left_s" -lt "$SHORTEST_S" ]; then echo "== $name: not begun, $left_s s are left"; return; fi
    echo "== $name"
    limit_s=$((limit_s < left_s ? limit_s : left_s))
    timeout "$limit_s" "$python" -m "$@" >"$out/$name.log" 2>&1 || echo "   failed ($?): $(tail -n 1 "$out/$name.log")"
}

measure() { step "$1" "$2" "animate_benchmarks.gpu.$1" --device "$device" $small; }

forward() {
    local name=$1 limit_s=$2 size=$3 repeats=$4
    [ -z "$small" ] || size="64x64 --frames 17 --layers 5 --narrow"
    # shellcheck disable=SC2086
    step "$name" "$limit_s" animate_benchmarks.forward --device "$device" --repeats "$repeats" --size $size
}

loading() {
    local folder layers=40
    folder=$(mktemp -u -d)
    [ -z "$small" ] || layers=5
    step loading 300 animate_benchmarks.load "$folder" --names tests/golden/transformer_original_shapes.json \
        --device "$device" --layers "$layers"
    rm -rf "$folder"
}

nvidia-smi 2>&1 | head -n 20
measure ceilings 120
forward forward-720p 420 1280x720 2
measure attention 300
measure operators 240
loading
forward forward-480p 150 832x480 3
forward forward-1080p 300 1920x1088 1
step validate 300 animate_benchmarks.validate --device "$device" --pairs 1 ${small:+--steps 2 --only bf16}

for log in "$out"/*.log; do
    name=$(basename "$log" .log)
    [ -f "$log" ] && wanted "$name" || continue
    echo
    echo "-- $name"
    grep -v '^{' "$log" | tail -n 36 | cut -c1-160
done
"$python" -m animate_benchmarks.gpu.summary "$out"
