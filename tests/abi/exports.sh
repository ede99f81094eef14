#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Each plugin of the folder exports exactly one symbol, and links neither LibTorch nor the host.
#   bash exports.sh <plugin folder>
set -euo pipefail
offences=0 checked=0
for plugin in "$1"/*.so; do
  symbols=$(nm -D --defined-only "$plugin" | awk '{print $3}' | sed 's/@.*//')
  if [ "$symbols" != graft_plugin_manifest_v1 ]; then
    echo "$plugin exports: $(echo "$symbols" | head -20 | tr '\n' ' '); expected graft_plugin_manifest_v1 alone"
    offences=$((offences + 1))
  fi
  if readelf -d "$plugin" | grep NEEDED | grep -E 'torch|c10|libgraft'; then
    echo "$plugin links the libraries above, expected none of LibTorch and the host"
    offences=$((offences + 1))
  fi
  checked=$((checked + 1))
done
echo "$checked plugins, $offences offences"
[ $checked -gt 0 ] && [ $offences = 0 ]
