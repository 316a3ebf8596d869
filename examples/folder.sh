#!/usr/bin/env bash
# Render every video of a folder with one image, in this machine's own process, without a server.
#
#   examples/folder.sh who.png videos renders [options of `animate-server render` ...]
#
# Run it again after an interruption: finished videos are skipped, and the one that was cut goes on after its last
# finished segment. Each video loads the model anew; for many short ones a server, which loads it once, is quicker.
set -euo pipefail
image=$1 videos=$2 renders=$3
shift 3
trap 'exit 130' INT  # Ctrl-C ends the loop, not only the render
shopt -s nullglob nocaseglob
failed=0
for video in "$videos"/*.{mp4,mov,mkv,webm}; do
  name=$(basename "$video")
  output=$renders/${name%.*}.mp4
  [[ -e $output ]] && continue  # it appears when it is whole
  animate-server render --image "$image" --video "$video" --output "$output" "$@" || failed=1
done
exit "$failed"
