#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Holds the layout of the tree: bash tests/structure/check.sh <root> <check>
#   folder_order  a folder of host/ includes only itself and folders to its left
#   torch_door    plugin_api, plugins and the core folders include nothing of LibTorch; nobody its umbrella headers
#   plugin_world  plugin_api and plugins include nothing of host/
#   log_door      spdlog and fmt are included by host/support/log.cpp alone
#   top_level     nothing at the top level but the agreed names
#   spdx          each source file begins with its licence line
# Prints one line per offence and exits 1 if there is one.
set -euo pipefail
export LC_ALL=C

root=$1
check=$2
cd "$root"

core='support config plugin data text image monitor'
order="$core model rollout rewards objective adapt memory train distributed sweep doctor report embed cli"
top='CMakeLists.txt CMakePresets.json README.md CHANGELOG.md CONTRIBUTING.md LICENSE plugin_api plugins host configs tests'

offences=0
offend() {
  echo "$*"
  offences=$((offences + 1))
}

# includes <folder>…: "file:line:header" of each include; the header keeps its quotes or angle brackets.
includes() {
  local folder
  for folder in "$@"; do
    if [ -e "$folder" ]; then
      grep -rEn --include='*.h' --include='*.cpp' --include='*.c' --include='*.hpp' --include='*.cu' \
        '^[[:space:]]*#[[:space:]]*include[[:space:]]*["<]' "$folder" || true
    fi
  done | sed -E 's/^([^:]+:[0-9]+):[[:space:]]*#[[:space:]]*include[[:space:]]*(["<][^">]*[">]).*$/\1:\2/'
}

rank() {   # position of a folder in the order, 0 if it is not in it
  local i=0 folder
  for folder in $order; do
    i=$((i + 1))
    if [ "$folder" = "$1" ]; then echo $i; return; fi
  done
  echo 0
}

folder_order() {
  local folder place header other
  for folder in $order; do
    place=$(rank "$folder")
    while IFS=: read -r file line header; do
      header=${header//\"/}
      other=${header%%/*}
      if [ "$other" = "$header" ]; then
        offend "$file:$line: includes \"$header\"; write it from host/: \"$folder/$header\""
      elif [ "$(rank "$other")" = 0 ]; then
        offend "$file:$line: includes \"$header\", and host/ has no folder '$other' in its order"
      elif [ "$(rank "$other")" -gt "$place" ]; then
        offend "$file:$line: $folder includes \"$header\", a folder to its right"
      fi
    done < <(includes "host/$folder" | grep ':"' || true)
  done
  for folder in host/*/; do
    folder=$(basename "$folder")
    case " $order cmake python " in
      *" $folder "*) ;;
      *) offend "host/$folder: not in the order of tests/structure/check.sh" ;;
    esac
  done
}

torch_door() {
  local folder folders=(plugin_api plugins)
  for folder in $core; do folders+=("host/$folder" "tests/$folder"); done
  while IFS=: read -r file line header; do
    offend "$file:$line: includes $header; LibTorch does not belong here"
  done < <(includes "${folders[@]}" | grep -E ':["<](ATen|torch|c10|caffe2)/' || true)
  while IFS=: read -r file line header; do
    offend "$file:$line: includes $header, which takes seconds to compile; include the header of each operator"
  done < <(includes host tests | grep -E ':["<](torch/(torch|extension|all)\.h|ATen/(ATen|Functions)\.h)' || true)
}

plugin_world() {
  while IFS=: read -r file line header; do
    header=${header//[\"<>]/}
    if [ -f "host/$header" ] || [[ "$header" == */host/* ]]; then
      offend "$file:$line: includes \"$header\" of the host; a plugin knows plugin_api only"
    fi
  done < <(includes plugin_api plugins)
}

log_door() {
  while IFS=: read -r file line header; do
    if [ "$file" != host/support/log.cpp ]; then
      offend "$file:$line: includes $header; log through support/log.h, build strings with support::cat"
    fi
  done < <(includes host plugin_api plugins tests | grep -E ':["<](spdlog|fmt)/' || true)
}

top_level() {
  local name names
  if git rev-parse --show-toplevel > /dev/null 2>&1; then names=$(git ls-files | cut -d/ -f1 | sort -u)
  else names=$(ls); fi
  for name in $names; do
    case " $top build install " in
      *" $name "*) ;;
      *) case $name in .*) ;; *) offend "$name: not one of the agreed names at the top level" ;; esac ;;
    esac
  done
}

spdx() {
  local file
  while read -r file; do
    head -n 2 "$file" | grep -q 'SPDX-License-Identifier: Apache-2.0' ||
      offend "$file: the first line is not '// SPDX-License-Identifier: Apache-2.0'"
  done < <(find host plugin_api plugins tests -type f \( -name '*.h' -o -name '*.cpp' -o -name '*.c' -o -name '*.cu' \
    -o -name '*.cmake' -o -name CMakeLists.txt -o -name '*.sh' -o -name '*.py' \) | sort)
}

case $check in
  folder_order | torch_door | plugin_world | log_door | top_level | spdx) "$check" ;;
  *) echo "unknown check '$check'" >&2; exit 2 ;;
esac
[ $offences = 0 ]
