#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Generated documentation is up to date: plugins/README.md lists every plugin, configs/README.md every key.
source "$(dirname "$0")/../cli/lib.sh"

"$graft" plugins list > listed.txt
while read -r kind name summary; do
  grep -qF "| \`$name\` | $kind |" "$source_dir/plugins/README.md" ||
    fail "plugins/README.md lacks \"| \`$name\` | $kind | $summary |\""
  grep -qF "| $summary |" "$source_dir/plugins/README.md" || fail "plugins/README.md: the summary of $name is not \"$summary\""
done < listed.txt
rows=$(grep -c '^| `' "$source_dir/plugins/README.md")
[ "$rows" = "$(wc -l < listed.txt)" ] || fail "plugins/README.md has $rows rows for $(wc -l < listed.txt) plugins"

"$graft" config reference | cmp - "$source_dir/configs/README.md" ||
  fail "configs/README.md is old: graft config reference > configs/README.md"
