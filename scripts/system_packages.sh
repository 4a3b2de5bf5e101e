#!/bin/sh
# What only the system's package manager has. Installs it as root or with passwordless sudo; otherwise says the one
# command to run. Does nothing, and is quick, when all is there.
#
# usage: scripts/system_packages.sh PYTHON [LIST …]
#   LIST: a file with more packages, one a line; "#" begins a comment; NAME@debian is for Debian alone
set -eu

python=$1
shift
minor=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
missing=""

# The virtual environment: Debian keeps ensurepip in a package of its own.
"$python" -c 'import ensurepip, venv' 2>/dev/null || missing="$missing python$minor-venv"

# The embedded server's Python stub is linked against libpython: the interpreter's own, or the system's.
"$python" - <<'PROBE' || missing="$missing libpython$minor"
import ctypes.util, pathlib, sys, sysconfig
minor = "%d.%d" % sys.version_info[:2]
own = pathlib.Path(sysconfig.get_config_var("LIBDIR") or "") / f"libpython{minor}.so.1.0"
sys.exit(0 if own.is_file() or ctypes.util.find_library(f"python{minor}") else 1)
PROBE

distribution=$(. /etc/os-release 2>/dev/null && echo "$ID") || distribution=""
for package in $(sed 's/#.*//' /dev/null "$@"); do
    case "$package" in
    *@"$distribution") package=${package%@*} ;;
    *@*) continue ;;
    esac
    # Without dpkg nothing is known: the packages are named below.
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
done

[ -z "$missing" ] && exit 0

command="apt-get install -y --no-install-recommends$missing"
if ! command -v apt-get >/dev/null; then
    echo "These packages are missing:$missing (their names on Debian). Install them, then run make again." >&2
    exit 1
elif [ "$(id -u)" = 0 ]; then
    as_root=""
elif command -v sudo >/dev/null && sudo -n true 2>/dev/null; then
    as_root="sudo"
else
    echo "Packages of the system are missing. Run this, then make again:" >&2
    echo "    sudo $command" >&2
    exit 1
fi
echo "Installing packages of the system:$missing"
export DEBIAN_FRONTEND=noninteractive
$as_root $command >/dev/null 2>&1 || { $as_root apt-get update -qq && $as_root $command >/dev/null; } || {
    echo "apt-get could not install$missing." >&2
    echo "If Python $minor is not this system's own, try another with make PYTHON=python3.N" >&2
    exit 1
}
