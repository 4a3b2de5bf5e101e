#!/usr/bin/env bash
# Sets the object of one picture into another with curl alone, through Triton's binary extension of HTTP: a JSON header,
# then the tensors' bytes. Each file is one STRING element, which has its length in front (4 bytes, little endian); small
# values stand in the header as they are.
#
# usage: clients/curl/composite.sh BACKGROUND REFERENCE OUTPUT [LEFT,TOP,RIGHT,BOTTOM] [URL]
set -euo pipefail

background=$1 reference=$2 output=$3 box=${4:-} url=${5:-http://localhost:8000}

u32() { printf -v hex %08x "$1" && printf "\\x${hex:6:2}\\x${hex:4:2}\\x${hex:2:2}\\x${hex:0:2}"; }
size() { stat -c %s "$1"; }
element() { u32 "$(size "$1")" && cat "$1"; }
tensor() { # name, file
    printf '{"name":"%s","datatype":"BYTES","shape":[1,1],"parameters":{"binary_data_size":%d}}' "$1" $(($(size "$2") + 4))
}

inputs="$(tensor BACKGROUND "$background"),$(tensor REFERENCE "$reference")"
if [ -n "$box" ]; then
    inputs="$inputs,{\"name\":\"BOX\",\"datatype\":\"FP32\",\"shape\":[1,4],\"data\":[$box]}"
fi
header="{\"inputs\":[$inputs],\"outputs\":[{\"name\":\"IMAGE\",\"parameters\":{\"binary_data\":true}}]}"

answer=$(mktemp) && trap 'rm -f "$answer" "$answer.headers"' EXIT
{ printf %s "$header" && element "$background" && element "$reference"; } |
    curl --silent --show-error --data-binary @- --dump-header "$answer.headers" --output "$answer" \
        --header "Inference-Header-Content-Length: ${#header}" --header "Content-Type: application/octet-stream" \
        "$url/v2/models/composite/infer"

# The answer is built the same way; an error is JSON alone, without the length of a header.
length=$(tr -d '\r' <"$answer.headers" | sed -n 's/^Inference-Header-Content-Length: //Ip')
if [ -z "$length" ]; then
    cat "$answer" >&2 && echo >&2
    exit 1
fi
tail --bytes=+$((length + 4 + 1)) "$answer" >"$output"
