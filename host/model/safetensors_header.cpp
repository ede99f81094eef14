// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "model/safetensors.h"
#include "model/safetensors_dtypes.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::model {

namespace {

using nlohmann::json;
using support::cat;
using support::UserError;

constexpr std::uint64_t kLengthBytes = 8;
constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit

[[noreturn]] void fail(const std::filesystem::path& file, const std::string& what) {
  throw UserError(cat(file, " is not a valid safetensors file: ", what));
}

[[noreturn]] void fail(const std::filesystem::path& file, std::string_view tensor, const std::string& what) {
  fail(file, cat("tensor \"", tensor, "\": ", what));
}

std::uint64_t header_length(std::string_view bytes, const std::filesystem::path& file) {
  if (bytes.size() < kLengthBytes) {
    fail(file, cat("it has ", bytes.size(), " bytes, expected at least ", kLengthBytes,
                   "; it was probably not "
                   "downloaded completely"));
  }
  std::uint64_t length = 0;
  for (std::uint64_t i = kLengthBytes; i-- > 0;) length = length << 8 | static_cast<unsigned char>(bytes[i]);
  if (length > kMaxHeaderBytes)
    fail(file, cat("the header length is ", length, ", the limit is ", kMaxHeaderBytes));
  if (length > bytes.size() - kLengthBytes) {
    fail(file, cat("the header length is ", length, ", but only ", bytes.size() - kLengthBytes,
                   " bytes follow; the file ", "is truncated"));
  }
  return length;
}

// The parser keeps the last of several equal keys; a file with two tensors of one name is refused instead.
json parse_unique(std::string_view text, const std::filesystem::path& file) {
  std::set<std::string> seen;
  const auto on_event = [&](int depth, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::key && depth == 1 && !seen.insert(value.get<std::string>()).second) {
      fail(file, value.get<std::string>(), "the name occurs twice");
    }
    return true;
  };
  try {
    json header = json::parse(text, on_event);
    if (!header.is_object())
      fail(file, cat("the header is a JSON ", header.type_name(), ", expected an object"));
    return header;
  } catch (const json::exception& e) {
    fail(file, cat("the header is not JSON: ", e.what()));
  }
}

const json& member(const json& object, const char* key, const std::string& name,
                   const std::filesystem::path& file) {
  const auto found = object.find(key);
  if (found == object.end()) fail(file, name, cat("\"", key, "\" is missing"));
  return *found;
}

std::vector<std::uint64_t> naturals(const json& list, const char* key, const std::string& name,
                                    const std::filesystem::path& file) {
  std::vector<std::uint64_t> out;
  bool is_valid = list.is_array();
  for (std::size_t i = 0; is_valid && i < list.size(); ++i) {
    is_valid = list[i].is_number_unsigned();
    if (is_valid) out.push_back(list[i].get<std::uint64_t>());
  }
  if (!is_valid)
    fail(file, name, cat("\"", key, "\" is ", list.dump(), ", expected a list of natural numbers"));
  return out;
}

// Bytes of a tensor of these sizes; none if it does not fit into 63 bits.
std::optional<std::uint64_t> byte_size(const std::vector<std::int64_t>& sizes, std::uint64_t element) {
  std::int64_t total = static_cast<std::int64_t>(element);
  for (const std::int64_t size : sizes) {
    if (__builtin_mul_overflow(total, size, &total)) return std::nullopt;
  }
  return static_cast<std::uint64_t>(total);
}

std::vector<std::int64_t> parse_shape(const json& value, const std::string& name,
                                      const std::filesystem::path& file) {
  std::vector<std::int64_t> sizes;
  for (const std::uint64_t size : naturals(value, "shape", name, file)) {
    if (size > static_cast<std::uint64_t>(INT64_MAX))
      fail(file, name, cat("a size of ", size, " is out of range"));
    sizes.push_back(static_cast<std::int64_t>(size));
  }
  return sizes;
}

TensorEntry parse_entry(const std::string& name, const json& value, const std::filesystem::path& file) {
  if (!value.is_object()) fail(file, name, cat("found a JSON ", value.type_name(), ", expected an object"));
  TensorEntry entry;
  entry.name = name;
  const json& dtype = member(value, "dtype", name, file);
  const std::string word = dtype.is_string() ? dtype.get<std::string>() : dtype.dump();
  if (!dtype_of_safetensors(word, entry.dtype)) {
    fail(file, name,
         cat("the dtype is ", word,
             ", expected one of F64 F32 F16 BF16 I64 I32 I16 I8 U8 BOOL; quantised "
             "checkpoints are not supported"));
  }
  entry.sizes = parse_shape(member(value, "shape", name, file), name, file);
  const std::vector<std::uint64_t> offsets =
      naturals(member(value, "data_offsets", name, file), "data_offsets", name, file);
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    fail(file, name,
         cat("\"data_offsets\" has ", offsets.size(), " numbers, expected two in ascending order"));
  }
  entry.begin = offsets[0];
  entry.end = offsets[1];
  const std::optional<std::uint64_t> expected = byte_size(entry.sizes, c10::elementSize(entry.dtype));
  if (expected != entry.end - entry.begin) {
    fail(file, name,
         cat("the data has ", entry.end - entry.begin, " bytes, a tensor of shape ", entry.shape(),
             " and dtype ", word, " has ", expected ? cat(*expected) : std::string("more than 2^63")));
  }
  return entry;
}

// Every byte of the data section belongs to exactly one tensor.
void check_coverage(const std::vector<TensorEntry>& entries, std::uint64_t data_size,
                    const std::filesystem::path& file) {
  std::vector<const TensorEntry*> order;
  for (const TensorEntry& entry : entries) order.push_back(&entry);
  std::sort(order.begin(), order.end(), [](const TensorEntry* a, const TensorEntry* b) {
    return std::pair(a->begin, a->end) < std::pair(b->begin, b->end);
  });
  std::uint64_t covered = 0;
  for (const TensorEntry* entry : order) {
    if (entry->end > data_size) {
      fail(file, entry->name,
           cat("its data ends at byte ", entry->end, ", but the file holds ", data_size,
               " bytes of data; the file is truncated, fetch it again"));
    }
    if (entry->begin != covered) {
      fail(file, entry->name,
           cat("its data begins at byte ", entry->begin, ", expected ", covered,
               entry->begin < covered ? " (it overlaps another tensor)" : " (there is a gap before it)"));
    }
    covered = entry->end;
  }
  if (covered != data_size) {
    fail(file, cat("the tensors take ", covered, " bytes, but the file holds ", data_size, " bytes of data"));
  }
}

void parse_metadata(const json& value, SafetensorsHeader& header, const std::filesystem::path& file) {
  if (!value.is_object())
    fail(file, cat("\"__metadata__\" is a JSON ", value.type_name(), ", expected an object"));
  for (const auto& [key, text] : value.items()) {
    if (!text.is_string()) fail(file, cat("\"__metadata__\": \"", key, "\" is no string"));
    header.metadata.emplace(key, text.get<std::string>());
  }
}

}  // namespace

std::string TensorEntry::shape() const {
  return shape_text(sizes);
}

SafetensorsHeader parse_safetensors_header(std::string_view bytes, const std::filesystem::path& file) {
  const std::uint64_t length = header_length(bytes, file);
  const json parsed = parse_unique(bytes.substr(kLengthBytes, static_cast<std::size_t>(length)), file);
  SafetensorsHeader header;
  header.data_begin = kLengthBytes + length;
  for (const auto& [name, value] : parsed.items()) {  // in the order of the names
    if (name == "__metadata__") {
      parse_metadata(value, header, file);
    } else {
      header.entries.push_back(parse_entry(name, value, file));
    }
  }
  check_coverage(header.entries, bytes.size() - header.data_begin, file);
  return header;
}

}  // namespace graft::model
