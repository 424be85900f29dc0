#!/bin/bash
# Brings a server from another Debian suite into a folder, complete or not at all. Changes nothing
# on the system.
#
#   tests/bring-deb.sh FOLDER SUITE PACKAGE PROGRAM
#
# FOLDER is kept between runs: where PROGRAM stands in its usr/sbin already, nothing is done.
set -euo pipefail
folder=$1 suite=$2 package=$3 program=$4
if [ -x "$folder/usr/sbin/$program" ] && [ -e "$folder/ready" ]; then exit 0; fi

if ! command -v apt-get >/dev/null || ! command -v dpkg >/dev/null || [ ! -e /usr/share/keyrings/debian-archive-keyring.gpg ]; then
    printf '%s can be unpacked only where there are apt-get, dpkg and Debian'"'"'s keyring\n' "$package" >&2
    exit 1
fi
mkdir -p "$(dirname "$folder")"
fresh=$(mktemp -d "$(dirname "$folder")/bring.XXXXXX")
trap 'rm -rf "$fresh"' EXIT
trap 'exit 143' TERM
"$(dirname "$0")/fetch-debs.sh" "$suite" "$fresh/package" "$package" >&2 </dev/null
chmod -R a+rX "$fresh/package"
touch "$fresh/package/ready"
rm -rf "$folder"
mv "$fresh/package" "$folder"
