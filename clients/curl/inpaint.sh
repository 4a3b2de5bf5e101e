#!/usr/bin/env bash
# Inpaints with curl alone, through Triton's binary extension of HTTP: a JSON header, then the tensors' bytes. Each file
# is one STRING element, which has its length in front (4 bytes, little endian).
#
# usage: clients/curl/inpaint.sh IMAGE MASK OUTPUT [URL]
set -euo pipefail

image=$1 mask=$2 output=$3 url=${4:-http://localhost:8000}

u32() { printf -v hex %08x "$1" && printf "\\x${hex:6:2}\\x${hex:4:2}\\x${hex:2:2}\\x${hex:0:2}"; }
size() { stat -c %s "$1"; }
element() { u32 "$(size "$1")" && cat "$1"; }
tensor() { # name, file
    printf '{"name":"%s","datatype":"BYTES","shape":[1,1],"parameters":{"binary_data_size":%d}}' "$1" $(($(size "$2") + 4))
}

header="{\"inputs\":[$(tensor IMAGE "$image"),$(tensor MASK "$mask")],
  \"outputs\":[{\"name\":\"IMAGE\",\"parameters\":{\"binary_data\":true}}]}"

answer=$(mktemp) && trap 'rm -f "$answer" "$answer.headers"' EXIT
{ printf %s "$header" && element "$image" && element "$mask"; } |
    curl --silent --show-error --data-binary @- --dump-header "$answer.headers" --output "$answer" \
        --header "Inference-Header-Content-Length: ${#header}" --header "Content-Type: application/octet-stream" \
        "$url/v2/models/inpaint/infer"

# The answer is built the same way; an error is JSON alone, without the length of a header.
length=$(tr -d '\r' <"$answer.headers" | sed -n 's/^Inference-Header-Content-Length: //Ip')
if [ -z "$length" ]; then
    cat "$answer" >&2 && echo >&2
    exit 1
fi
tail --bytes=+$((length + 4 + 1)) "$answer" >"$output"
