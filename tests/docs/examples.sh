#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Every C or C++ example of the documentation that begins with its file name is compiled as a plugin, from the public headers
# alone, and passes `graft plugins check`; the rewards score and train.
source "$(dirname "$0")/../cli/lib.sh"

extract() {   # writes each ```c and ```cpp block of a Markdown file that begins with a comment naming a file
  awk '/^```(c|cpp)$/ { inside = 1; first = 1; next }
       /^```/ { inside = 0; if (name) close(name); name = "" }
       inside && first { first = 0; if (match($0, /[a-z_]+\.(c|cpp)/)) name = substr($0, RSTART, RLENGTH); if (name) printf "" > name }
       inside && name { print > name }' "$1"
}

extract "$source_dir/README.md"
extract "$source_dir/plugin_api/README.md"
count=0
for file in *.c *.cpp; do
  case $file in
    *.cpp) compile=("${CXX:-c++}" -std=c++17) ;;
    *.c) compile=("${CC:-cc}" -std=c99 -pedantic) ;;
  esac
  "${compile[@]}" -O1 -Wall -Wextra -Werror -fPIC -shared -fvisibility=hidden -I "$source_dir/plugin_api/include" "$file" \
    -o "${file%.*}.so" || fail "$file of the documentation does not compile"
  "$graft" plugins check "${file%.*}.so" || fail "$file of the documentation does not pass the checks"
  count=$((count + 1))
done
[ "$(wc -l < answer_length.cpp)" -le 30 ] || fail "the reward in C++ has more than 30 lines"
[ "$(wc -l < length_limit.c)" -le 60 ] || fail "the reward in C has more than 60 lines"
[ $count -ge 5 ] || fail "expected at least 5 examples, found $count"
for file in *.cpp; do   # the limit that the documentation promises for a strategy
  [ "$(wc -l < "$file")" -le 60 ] || fail "$file of the documentation has more than 60 lines"
done

score=$(echo '{"completion": "0123456789"}' | "$graft" score --plugin brevity.so --reward 'brevity:{"limit": 20}')
[[ $score == '{"scores":{"brevity":0.5},'* ]] || fail "brevity scored $score"

# A reward in C, built outside of the tree, trains.
make_shapes data 16 9
grpo trained train.steps=2 plugins=length_limit.so --reward_funcs length_limit 2> log || { cat log >&2; fail "C reward"; }
grep -q '"rewards/length_limit/mean"' trained/metrics.jsonl || fail "no metric of the C reward"
grpo adapted train.steps=2 plugins=output_scale.so,every_second.so peft.strategy=output_scale peft.params={} \
  checkpoint_policy.name=every_second 2> log || { cat log >&2; fail "example strategy and policy"; }
grpo calibrated train.steps=1 plugins=busiest_layers.so peft.strategy=busiest_layers peft.params={} \
  peft.calibration_samples=2 2> log || { cat log >&2; fail "example of a calibration"; }
grep -q "calibration: 1 pass over training data, [1-9][0-9]* layers left out" log || { cat log >&2; fail "no calibration"; }
