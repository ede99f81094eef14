#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Sets graft up on a fresh Debian or Ubuntu machine (packages, LibTorch, build) and shows what it does.
# A second run reuses everything.

source "$(dirname "${BASH_SOURCE[0]}")/cmake/setup.sh"
cd "$graft_root"

setup_packages build
setup_build release

graft=build/release/bin/graft
if [ -x $graft ]; then $graft --help; fi
