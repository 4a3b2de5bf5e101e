#!/bin/sh
# Prints the first interpreter that works and is CPython 3.11 to 3.13: the embedded server has stubs up to 3.13.
for name in python3 python3.13 python3.12 python3.11; do
    if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
        command -v "$name"
        exit 0
    fi
done
echo "Atelier needs CPython 3.11, 3.12 or 3.13; install one, or name it: make PYTHON=/path/to/python3" >&2
exit 1
