# SPDX-License-Identifier: Apache-2.0
# Set-up shared by host/demo.sh and tests/run.sh; sourced, not run. Everything here is done once and found done later.
#
#   setup_packages build|test   system packages of packages.txt (root or sudo, Debian or Ubuntu)
#   setup_build <preset> <cmake arguments>…   LibTorch (by CMake, cached in ~/.cache/graft), configure, compile

set -euo pipefail

graft_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
export GRAFT_CACHE_DIR=${GRAFT_CACHE_DIR:-$HOME/.cache/graft}
export CCACHE_DIR=${CCACHE_DIR:-$GRAFT_CACHE_DIR/ccache}
export CCACHE_BASEDIR=${CCACHE_BASEDIR:-$graft_root}
export CCACHE_NOHASHDIR=1

say() { printf '\n== %s\n' "$*"; }

# Compiler processes: one a core, but a file that includes ATen takes up to 1.3 GB.
setup_jobs() {
  local cores memory
  cores=$(nproc)
  memory=$(awk '/^MemAvailable/ {print int($2 / 1400000)}' /proc/meminfo)
  if [ "$memory" -lt 1 ]; then memory=1; fi
  if [ "$memory" -lt "$cores" ]; then echo "$memory"; else echo "$cores"; fi
}

as_root() {
  if [ "$(id -u)" = 0 ]; then "$@"
  elif command -v sudo > /dev/null; then sudo "$@"
  else echo "needs root or sudo for: $*" >&2; return 1
  fi
}

package_is_there() {   # package, command
  if [ -n "$2" ]; then bash -c "$2" > /dev/null 2>&1
  else dpkg-query -W -f '${Status}' "$1" 2> /dev/null | grep -q 'install ok installed'
  fi
}

setup_packages() {
  local purpose=$1 kinds package probe
  local missing=() wanted=()
  while read -r kinds package probe; do
    case $kinds in
      '' | '#'*) continue ;;
      build) ;;
      test*) if [ "$purpose" != test ]; then continue; fi ;;
    esac
    if package_is_there "$package" "$probe"; then continue; fi
    case $kinds in
      *optional) wanted+=("$package") ;;
      *) missing+=("$package") ;;
    esac
  done < "$graft_root/host/cmake/packages.txt"

  if [ ${#missing[@]} = 0 ] && [ ${#wanted[@]} = 0 ]; then
    say "system packages: all there"
    return
  fi
  if ! command -v apt-get > /dev/null; then
    say "no apt-get here; install what corresponds to: ${missing[*]} ${wanted[*]}"
    return
  fi
  say "system packages: installing ${missing[*]} ${wanted[*]}"
  if ! as_root apt-get update -qq && [ ${#missing[@]} -gt 0 ]; then return 1; fi
  if [ ${#missing[@]} -gt 0 ]; then
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}"
  fi
  for package in "${wanted[@]}"; do
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" ||
      echo "$package is not to be had here; the checks that use it are left out"
  done
}

setup_build() {
  local preset=$1
  shift
  say "configuring build/$preset (fetches LibTorch into $GRAFT_CACHE_DIR the first time)"
  (cd "$graft_root" && cmake --preset "$preset" "$@")
  say "compiling build/$preset"
  cmake --build "$graft_root/build/$preset" -j "$(setup_jobs)"
}
