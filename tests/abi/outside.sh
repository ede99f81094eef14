#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Installs this build into a temporary folder, builds the plugins of outside/ from what was installed, by hand and with the
# CMake package, and has abi_tests load them.
#   bash outside.sh <build folder> <outside folder> <abi_tests>
set -euo pipefail
build=$1 sources=$2 tests=$3

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cmake --install "$build" --prefix "$scratch/install" > "$scratch/install.log" || { cat "$scratch/install.log"; exit 1; }
cp -r "$sources" "$scratch/outside"
cd "$scratch/outside"
warnings='-Wall -Wextra -pedantic -Werror'

mkdir by_hand
${CC:-cc} -std=c99 $warnings -shared -fPIC -I "$scratch/install/include" brevity.c -o by_hand/brevity.so
${CXX:-c++} -std=c++17 $warnings -shared -fPIC -I "$scratch/install/include" clip.cpp -o by_hand/clip.so

cmake -S . -B package -DCMAKE_PREFIX_PATH="$scratch/install" > "$scratch/package.log" &&
  cmake --build package >> "$scratch/package.log" || { cat "$scratch/package.log"; exit 1; }

for folder in by_hand package; do
  GRAFT_OUTSIDE=$scratch/outside/$folder "$tests" --gtest_filter='Outside.*' --gtest_brief=1
done
