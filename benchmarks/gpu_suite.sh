#!/usr/bin/env bash
# Everything that needs a GPU, in order of value; short tables last. Full logs go to the folder given as the first
# argument (default: logs/gpu). A step that fails is said and passed over.
#   bash benchmarks/gpu_suite.sh [FOLDER]
set -u
cd "$(dirname "$0")/.."
out=${1:-logs/gpu}
mkdir -p "$out"
export PYTHONUNBUFFERED=1 PYTHONPATH="${PYTHONPATH:-}:.:pipelines:weights:kernels:benchmarks"

step() {
    local name=$1 limit_s=$2
    shift 2
    echo "== $name"
    timeout "$limit_s" "$@" >"$out/$name.log" 2>&1 || echo "   failed ($?): $(tail -n 1 "$out/$name.log")"
}

nvidia-smi >"$out/nvidia-smi.log" 2>&1
step forward-720p 300 python3 -m animate_benchmarks.forward --size 1280x720 --repeats 3
step forward-480p 180 python3 -m animate_benchmarks.forward --size 832x480 --repeats 3

for log in "$out"/forward-*.log; do
    echo
    grep -v '^{' "$log" | tail -n 8
done
