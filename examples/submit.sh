#!/usr/bin/env bash
# Submit a job to a server, wait for its end and download the video, with curl alone.
#
#   ANIMATE_SERVER=http://host:8000 ANIMATE_API_KEY=... examples/submit.sh who.png what.mp4 out.mp4 [FIELD=VALUE ...]
#
# FIELD is any field of POST /v1/jobs, such as mode=replace or seed=3; the server's /docs lists them.
set -euo pipefail
image=$1 video=$2 output=$3
shift 3
jobs=${ANIMATE_SERVER:-http://127.0.0.1:8000}/v1/jobs

# The key comes from a file descriptor: on the command line every user of this machine could read it.
call() { curl --silent --show-error --header @<(echo "authorization: Bearer ${ANIMATE_API_KEY:-}") "$@"; }
# The first text of that name in the server's JSON; a job's own id and status come before all others.
field() { grep -o "\"$1\":\"[^\"]*\"" <<<"$2" | head -n 1 | cut -d '"' -f 4; }

form=(--form "reference_image=@$image" --form "driving_video=@$video")
for pair in "$@"; do form+=(--form-string "$pair"); done
job=$(call --fail-with-body "${form[@]}" "$jobs") || { echo "$job" >&2; exit 1; }
id=$(field id "$job")

while status=$(field status "$job"); [[ $status == queued || $status == running ]]; do
  sleep 2
  job=$(call --fail --retry 10 --retry-connrefused "$jobs/$id")  # a job survives a restart of the server
done
[[ $status == succeeded ]] || { echo "$job" >&2; exit 1; }

# /artefact redirects to the file, which needs no key.
call --fail --location --output "$output.part" "$jobs/$id/artefact"
mv "$output.part" "$output"
echo "$output"
