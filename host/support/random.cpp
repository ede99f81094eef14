// SPDX-License-Identifier: Apache-2.0
#include "support/random.h"

#include <cmath>
#include <numbers>

namespace graft::support {

namespace {

constexpr std::uint64_t kGolden = 0x9E3779B97F4A7C15ULL;  // 2^64 / golden ratio, SplitMix64's increment

std::uint32_t low(std::uint64_t word) {
  return static_cast<std::uint32_t>(word);
}
std::uint32_t high(std::uint64_t word) {
  return static_cast<std::uint32_t>(word >> 32);
}

}  // namespace

std::array<std::uint32_t, 4> philox4x32_10(std::array<std::uint32_t, 4> counter,
                                           std::array<std::uint32_t, 2> key) {
  constexpr std::uint64_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
  constexpr std::uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t product0 = kMultiplier0 * counter[0];
    const std::uint64_t product1 = kMultiplier1 * counter[2];
    counter = {high(product1) ^ counter[1] ^ key[0], low(product1), high(product0) ^ counter[3] ^ key[1],
               low(product0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return counter;
}

std::uint64_t mix64(std::uint64_t word) {
  word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9ULL;
  word = (word ^ (word >> 27)) * 0x94D049BB133111EBULL;
  return word ^ (word >> 31);
}

std::uint64_t hash_string(std::string_view text) {
  std::uint64_t hash = 0xCBF29CE484222325ULL;
  for (const char c : text) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001B3ULL;
  }
  return mix64(hash);
}

KeyedRandom::KeyedRandom(std::uint64_t seed, std::initializer_list<std::uint64_t> keys) {
  // Two independent 64-bit hashes of (seed, keys): one is the key, one the stream, so that 128 bits tell two
  // draw sites apart.
  std::uint64_t first = mix64(seed + kGolden);
  std::uint64_t second = mix64(seed ^ 0xD1B54A32D192ED03ULL);
  for (const std::uint64_t key : keys) {
    first = mix64(first * 3 + mix64(key + kGolden));
    second = mix64((second ^ mix64(key + 2 * kGolden)) + kGolden);
  }
  key_ = {low(first), high(first)};
  stream_ = second;
}

std::uint64_t KeyedRandom::next() {
  if (has_spare_) {
    has_spare_ = false;
    return spare_;
  }
  const auto bits = philox4x32_10({low(block_), high(block_), low(stream_), high(stream_)}, key_);
  ++block_;
  spare_ = (std::uint64_t{bits[3]} << 32) | bits[2];
  has_spare_ = true;
  return (std::uint64_t{bits[1]} << 32) | bits[0];
}

double KeyedRandom::uniform() {
  return static_cast<double>(next() >> 11) * 0x1.0p-53;
}

double KeyedRandom::normal() {
  if (has_spare_normal_) {
    has_spare_normal_ = false;
    return spare_normal_;
  }
  const double radius = std::sqrt(-2.0 * std::log(1.0 - uniform()));  // 1 - u is in (0, 1]
  const double angle = 2.0 * std::numbers::pi * uniform();
  spare_normal_ = radius * std::sin(angle);
  has_spare_normal_ = true;
  return radius * std::cos(angle);
}

std::uint64_t KeyedRandom::below(std::uint64_t n) {
  if (n == 0) return next();
  // The lowest 2^64 mod n values are refused, which leaves a multiple of n.
  const std::uint64_t refused = (0 - n) % n;
  std::uint64_t word = next();
  while (word < refused) word = next();
  return word % n;
}

std::int64_t KeyedRandom::between(std::int64_t low_end, std::int64_t high_end) {
  const std::uint64_t count = static_cast<std::uint64_t>(high_end) - static_cast<std::uint64_t>(low_end) + 1;
  return static_cast<std::int64_t>(static_cast<std::uint64_t>(low_end) + below(count));
}

}  // namespace graft::support
