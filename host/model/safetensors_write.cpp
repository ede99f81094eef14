// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "model/safetensors.h"
#include "model/safetensors_dtypes.h"
#include "support/strings.h"

namespace graft::model {

namespace {

using support::cat;

struct Word {
  std::string_view word;
  at::ScalarType dtype;
};
constexpr std::array<Word, 10> kWords = {{{"F64", at::kDouble},
                                          {"F32", at::kFloat},
                                          {"F16", at::kHalf},
                                          {"BF16", at::kBFloat16},
                                          {"I64", at::kLong},
                                          {"I32", at::kInt},
                                          {"I16", at::kShort},
                                          {"I8", at::kChar},
                                          {"U8", at::kByte},
                                          {"BOOL", at::kBool}}};

constexpr std::size_t kAlignment = 8;  // of the data section: the largest element

std::string header_text(const NamedTensors& tensors, const std::map<std::string, std::string>& metadata) {
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::uint64_t offset = 0;
  for (const auto& [name, tensor] : tensors) {
    if (header.contains(name)) throw std::invalid_argument(cat("two tensors are named \"", name, "\""));
    const std::uint64_t end = offset + tensor.nbytes();
    header[name] = {{"dtype", safetensors_word(tensor.scalar_type())},
                    {"shape", tensor.sizes().vec()},
                    {"data_offsets", {offset, end}}};
    offset = end;
  }
  std::string text = header.dump();
  text.append((kAlignment - text.size() % kAlignment) % kAlignment, ' ');
  return text;
}

std::string length_prefix(std::size_t length) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes.push_back(static_cast<char>(length >> (8 * i) & 0xFF));
  return bytes;
}

}  // namespace

bool dtype_of_safetensors(std::string_view word, at::ScalarType& out) {
  for (const Word& known : kWords) {
    if (known.word == word) {
      out = known.dtype;
      return true;
    }
  }
  return false;
}

std::string_view safetensors_word(at::ScalarType dtype) {
  for (const Word& known : kWords) {
    if (known.dtype == dtype) return known.word;
  }
  throw std::invalid_argument(cat("safetensors cannot hold tensors of dtype ", c10::toString(dtype)));
}

std::string shape_text(const std::vector<std::int64_t>& sizes) {
  std::vector<std::string> parts;
  for (const std::int64_t size : sizes) parts.push_back(cat(size));
  return cat("[", support::join(parts, ", "), "]");
}

void write_safetensors(const std::filesystem::path& file, const NamedTensors& tensors,
                       const std::map<std::string, std::string>& metadata) {
  NamedTensors sorted;
  for (const auto& [name, tensor] : tensors) sorted.emplace_back(name, tensor.detach().cpu().contiguous());
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    return std::pair(b.second.element_size(), std::string_view(a.first)) <
           std::pair(a.second.element_size(), std::string_view(b.first));
  });
  const std::string header = header_text(sorted, metadata);
  const std::string prefix = length_prefix(header.size());
  std::vector<std::string_view> pieces = {prefix, header};
  for (const auto& [name, tensor] : sorted) {
    if (tensor.numel() > 0)
      pieces.emplace_back(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
  }
  support::write_file_atomic(file, pieces);
}

}  // namespace graft::model
