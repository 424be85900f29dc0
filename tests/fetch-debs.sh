#!/bin/bash
# Unpacks packages of another Debian suite, with the libraries that they need, into a folder.
# Changes nothing on the system.
#
#   tests/fetch-debs.sh SUITE FOLDER PACKAGE...
set -euo pipefail
suite=$1 folder=$2
shift 2

# from where this system has its own packages, and signed by the same
mirror=$(awk '/^URIs:/ { print $2; exit }' /etc/apt/sources.list.d/debian.sources 2>/dev/null ||
    sed -n 's/^deb \(\[[^]]*\] \)\?\([^ ]*\) .*/\2/p' /etc/apt/sources.list 2>/dev/null | head -1)
[ -n "$mirror" ] || { printf 'apt does not say where Debian is\n' >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists/partial,archives/partial,parts,packages} "$folder"
printf 'Types: deb\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' \
    "$mirror" "$suite" >"$work/parts/suite.sources"
options=(-o Dir::Etc::sourcelist=/dev/null -o Dir::Etc::sourceparts="$work/parts" -o Dir::State::lists="$work/lists"
    -o Dir::State::status=/dev/null -o Dir::Cache::archives="$work/archives" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache=
    -o APT::Sandbox::User=root -o Acquire::Languages=none)

apt-get "${options[@]}" -qq update
# nothing is installed, so what only an installation needs may stay away
unneeded='^(perl|libperl|libgdbm|libdb5|gcc-|libc-gconv|debconf|adduser|passwd|login)'
mapfile -t packages < <(apt-get "${options[@]}" --no-install-recommends -s install "$@" |
    awk '/^Inst/ { print $2 }' | grep -vE "$unneeded")
cd "$work/packages"
apt-get "${options[@]}" -qq download "${packages[@]}"
for package in *.deb; do dpkg -x "$package" "$folder"; done
