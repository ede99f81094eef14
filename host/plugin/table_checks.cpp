// SPDX-License-Identifier: Apache-2.0
#include "plugin/table_checks.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "config/schema.h"
#include "plugin/host_services.h"
#include "plugin/interfaces.h"
#include "plugin/library.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::plugin {
namespace {

using support::cat;

constexpr std::size_t kMostTableBytes = 65536;
constexpr std::uint64_t kMostComponents = 1024;
constexpr std::size_t kMostNameBytes = 64;
constexpr std::size_t kMostLineBytes = 1024;
constexpr std::size_t kMostSchemaBytes = 1 << 20;

// Sizes in ABI 1.0: named by their last member, which stays when members are appended.
constexpr std::size_t kManifestSize = offsetof(graft_manifest, init) + sizeof(graft_manifest::init);
constexpr std::size_t kLibrarySize =
    offsetof(graft_library, n_components) + sizeof(graft_library::n_components);
constexpr std::size_t kComponentSize =
    offsetof(graft_component, get_interface) + sizeof(graft_component::get_interface);

std::string hex(std::uint64_t value) {
  std::string text(16, '0');
  for (std::size_t i = 0; i < 16; ++i) text[15 - i] = "0123456789abcdef"[(value >> (4 * i)) & 15U];
  return "0x" + text;
}

}  // namespace

void TableChecks::refuse(std::string_view reason) const {
  throw support::PluginError(cat("plugin ", file_, ": ", reason));
}

void TableChecks::header(const graft_hdr& hdr, std::size_t least, const std::string& field) const {
  if (hdr.struct_size < least || hdr.struct_size > kMostTableBytes) {
    refuse(cat(field, ".hdr.struct_size is ", hdr.struct_size, ", expected ", least, " (ABI 1.0) to ",
               kMostTableBytes, "; initialise the header with GRAFT_HDR"));
  }
  if (hdr.flags != 0) refuse(cat(field, ".hdr.flags is ", hdr.flags, ", expected 0"));
}

void TableChecks::text(graft_str text, const std::string& field, std::size_t most) const {
  if (text.len > most) refuse(cat(field, " has ", text.len, " bytes, expected at most ", most));
  if (text.len > 0 && text.ptr == nullptr) refuse(cat(field, ".ptr is null, but its length is ", text.len));
  if (!support::is_utf8(view(text))) refuse(cat(field, " is not valid UTF-8"));
}

void TableChecks::identifier(graft_str text, const std::string& field) const {
  this->text(text, field, kMostNameBytes);
  const std::string_view name = view(text);
  const bool is_valid = !name.empty() && std::ranges::all_of(name, [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '.' || c == '-';
  });
  if (!is_valid) refuse(cat(field, " is \"", name, "\", expected 1 to 64 of the characters a-z 0-9 _ . -"));
}

void TableChecks::schema(graft_str text, const std::string& field) const {
  this->text(text, field, kMostSchemaBytes);
  if (text.len == 0) return;
  nlohmann::json schema;
  try {
    schema = nlohmann::json::parse(view(text));
  } catch (const nlohmann::json::exception& error) {
    refuse(cat(field, " is not JSON (", error.what(), ")"));
  }
  if (!schema.is_object()) refuse(cat(field, " is ", schema.type_name(), ", expected a JSON object"));
  static_cast<void>(config::schema_from_json(schema, cat("plugin ", file_, ": ", field)));
}

void TableChecks::manifest(const graft_manifest* manifest) const {
  if (manifest == nullptr) refuse(GRAFT_ENTRY_SYMBOL "() returned null, expected a manifest");
  if (manifest->magic != GRAFT_MAGIC) {
    refuse(cat("manifest.magic is ", hex(manifest->magic), ", expected ", hex(GRAFT_MAGIC),
               "; this is not a graft plugin"));
  }
  header(manifest->hdr, kManifestSize, "manifest");
  if (manifest->abi_major != GRAFT_ABI_MAJOR) {
    refuse(cat("manifest.abi_major is ", manifest->abi_major, ", expected ", GRAFT_ABI_MAJOR,
               "; rebuild the plugin with this host's headers"));
  }
  if (manifest->abi_minor_min > GRAFT_ABI_MINOR) {
    refuse(cat("manifest.abi_minor_min is ", manifest->abi_minor_min, ", expected at most ", GRAFT_ABI_MINOR,
               ": the plugin needs a host of ABI ", GRAFT_ABI_MAJOR, ".", manifest->abi_minor_min,
               " or newer, this one has ", GRAFT_ABI_MAJOR, ".", GRAFT_ABI_MINOR));
  }
  if (manifest->tier == GRAFT_TIER_NATIVE) {
    refuse(cat("manifest.tier is ", GRAFT_TIER_NATIVE, " (native: links LibTorch), expected ",
               GRAFT_TIER_PORTABLE, " (portable); this host does not load native plugins"));
  }
  if (manifest->tier != GRAFT_TIER_PORTABLE) {
    refuse(cat("manifest.tier is ", manifest->tier, ", expected ", GRAFT_TIER_PORTABLE, " (portable)"));
  }
  text(manifest->name, "manifest.name", kMostLineBytes);
  text(manifest->version, "manifest.version", kMostLineBytes);
  text(manifest->fingerprint, "manifest.fingerprint", kMostLineBytes);
  if (manifest->name.len == 0) refuse("manifest.name is empty, expected the library's name");
  if (manifest->init == nullptr) refuse("manifest.init is null, expected a function");
}

void TableChecks::library(const graft_library* library) const {
  if (library == nullptr) refuse("init() succeeded but left the library null");
  header(library->hdr, kLibrarySize, "library");
  if (library->n_components == 0 || library->n_components > kMostComponents) {
    refuse(cat("library.n_components is ", library->n_components, ", expected 1 to ", kMostComponents));
  }
  if (library->components == nullptr) refuse("library.components is null, expected an array of pointers");
}

void TableChecks::component(const graft_component* component, const std::string& where) const {
  if (component == nullptr) refuse(cat(where, " is null, expected a component table"));
  header(component->hdr, kComponentSize, where);
  identifier(component->kind, where + ".kind");
  identifier(component->name, where + ".name");
  text(component->version, where + ".version", kMostLineBytes);
  text(component->summary, where + ".summary", kMostLineBytes);
  schema(component->params_schema, where + ".params_schema");
  if (component->thread_class > GRAFT_THREAD_SERIAL) {
    refuse(cat(where, ".thread_class is ", component->thread_class, ", expected 0 to ", GRAFT_THREAD_SERIAL));
  }
  if (component->reserved != 0) refuse(cat(where, ".reserved is ", component->reserved, ", expected 0"));
  if (component->create == nullptr) refuse(cat(where, ".create is null, expected a function"));
  if (component->destroy == nullptr) refuse(cat(where, ".destroy is null, expected a function"));
  if (component->get_interface == nullptr) refuse(cat(where, ".get_interface is null, expected a function"));
}

void TableChecks::required_interface(const graft_component& component, const graft_component* self,
                                     const std::string& where) const {
  const Interface& interface = *interface_of(view(component.kind));
  const auto* theirs = static_cast<const graft_hdr*>(component.get_interface(self, view(interface.id)));
  if (theirs == nullptr) {
    refuse(cat(where, ".get_interface returned null for \"", interface.id, "\", which a ", interface.kind,
               " must offer"));
  }
  const std::string field = cat(where, ", ", interface.id);
  header(*theirs, interface.least_size, field);
  const void* copy = interface_copy(self, interface.id, interface.size);
  for (const Slot& slot : interface.required) {
    if (slot_is_null(copy, slot.offset)) refuse(cat(field, ": ", slot.name, " is null, expected a function"));
  }
  if (interface.rule != nullptr) {
    const std::string problem = interface.rule(copy);
    if (!problem.empty()) refuse(cat(field, ": ", problem));
  }
}

}  // namespace graft::plugin
