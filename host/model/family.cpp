// SPDX-License-Identifier: Apache-2.0
#include "model/family.h"

#include <c10/core/GradMode.h>

#include <nlohmann/json.hpp>

#include "plugin/host_services.h"
#include "support/error.h"
#include "support/strings.h"

namespace graft::model {

namespace {

using plugin::view;
using support::cat;
using support::UserError;

std::string model_type(const ModelDirectory& directory) {
  const auto config = nlohmann::json::parse(directory.config);
  const auto type = config.find("model_type");
  return type != config.end() && type->is_string() ? type->get<std::string>() : std::string();
}

// The component that says it reads this checkpoint.
plugin::Component probe_all(plugin::Registry& registry, const ModelDirectory& directory) {
  std::vector<plugin::Component> takers;
  std::vector<std::string> names;
  for (const plugin::Component& component : registry.list(GRAFT_KIND_MODEL_FAMILY)) {
    const auto& table = component.interface<graft_model_family>(GRAFT_INTERFACE_MODEL_FAMILY);
    names.push_back(component.name);
    if (table.probe(view(directory.config)) == 1) takers.push_back(component);
  }
  if (takers.size() == 1) return takers.front();
  const std::string what =
      cat(directory.path / "config.json", " (model_type \"", model_type(directory), "\")");
  if (takers.empty()) {
    throw UserError(cat("no model family reads ", what, "; available are: ",
                        names.empty() ? "none" : support::join(names, ", "), " (see graft plugins list)"));
  }
  throw UserError(cat("several model families read ", what, ": ", takers[0].name, " and ", takers[1].name,
                      "; choose one with model.family"));
}

std::int64_t token_id(void* context, graft_str text) {
  try {
    const auto* tokenizer = static_cast<const text::Tokenizer*>(context);
    return tokenizer->token_id(view(text)).value_or(-1);
  } catch (...) {  // no memory: the family reports the token as missing
    return -1;
  }
}

// ---- checks of a description ------------------------------------------------------------------------------

class Checker {
 public:
  Checker(const std::string& family, const graft_family_desc& desc) : family_(family), desc_(desc) {}

  Declarations run() const {
    Declarations out;
    for (std::uint32_t i = 0; i < desc_.n_params; ++i) add_param(*desc_.params[i], out);
    for (std::uint32_t i = 0; i < desc_.n_params; ++i) check_tie(out.params, i);
    for (std::uint32_t i = 0; i < desc_.n_sites; ++i) add_site(*desc_.sites[i], out);
    for (std::uint32_t i = 0; i < desc_.n_segments; ++i) add_segment(*desc_.segments[i], out);
    require(desc_.head_site >= 0 && static_cast<std::uint32_t>(desc_.head_site) < desc_.n_sites, "head_site",
            desc_.head_site);
    require(desc_.position_rank == 1 || desc_.position_rank == 3, "position_rank", desc_.position_rank);
    out.head_site = static_cast<std::uint32_t>(desc_.head_site);
    out.vocab_size = desc_.vocab_size;
    out.hidden_size = desc_.hidden_size;
    const Site& head = out.sites[out.head_site];
    require(head.out_features == out.vocab_size && head.in_features == out.hidden_size, "vocab_size",
            out.vocab_size);
    const bool is_wide =
        GRAFT_HAS(&desc_, graft_family_desc, image_value_size) && desc_.image_value_size != 0;
    out.image_value_size = is_wide ? desc_.image_value_size : desc_.hidden_size;
    require(out.image_value_size > 0, "image_value_size", out.image_value_size);
    out.n_attention_layers = desc_.n_attention_layers;
    out.position_rank = desc_.position_rank;
    out.image_token_ids.assign(desc_.image_token_ids, desc_.image_token_ids + desc_.n_image_token_ids);
    out.grounding_space = desc_.grounding_space;
    out.grounding_format = std::string(view(desc_.grounding_format));
    return out;
  }

 private:
  template <typename T>
  void require(bool condition, const std::string& what, const T& found) const {
    if (condition) return;
    throw support::PluginError(
        cat("model_family ", family_, " describes itself inconsistently: ", what, " is ", found));
  }

  void add_param(const graft_param_decl& decl, Declarations& out) const {
    Param param{std::string(view(decl.name)), {}, {}, decl.component, -1, {}};
    for (std::uint32_t i = 0; i < decl.n_aliases; ++i) param.aliases.emplace_back(view(decl.aliases[i]));
    param.sizes.assign(decl.sizes, decl.sizes + decl.rank);
    for (const std::int64_t size : param.sizes)
      require(size > 0, cat("a size of parameter ", param.name), size);
    check_component(param.name, decl.component);
    if ((decl.properties & GRAFT_PARAM_TIED) != 0) {
      require(decl.tied_to >= 0, cat("tied_to of parameter ", param.name), decl.tied_to);
      param.tied_to = decl.tied_to;
    }
    out.params.push_back(std::move(param));
    out.random.push_back({decl.random_init, decl.random_std});
  }

  void check_tie(const std::vector<Param>& params, std::uint32_t index) const {
    const Param& param = params[index];
    if (param.tied_to < 0) return;
    const auto other = static_cast<std::size_t>(param.tied_to);
    require(other < params.size() && params[other].tied_to < 0 && params[other].sizes == param.sizes,
            cat("tied_to of parameter ", param.name), param.tied_to);
  }

  void add_site(const graft_site_decl& decl, Declarations& out) const {
    Site site{std::string(view(decl.name)), decl.weight, decl.bias, decl.component, 0, 0};
    check_component(site.name, decl.component);
    const auto n = static_cast<std::int32_t>(out.params.size());
    require(decl.weight >= 0 && decl.weight < n, cat("the weight of site ", site.name), decl.weight);
    require(decl.bias >= -1 && decl.bias < n, cat("the bias of site ", site.name), decl.bias);
    const std::vector<std::int64_t>& sizes = out.params[static_cast<std::size_t>(decl.weight)].sizes;
    require(sizes.size() == 2, cat("the rank of the weight of site ", site.name), sizes.size());
    site.out_features = sizes[0];
    site.in_features = sizes[1];
    out.sites.push_back(std::move(site));
  }

  void add_segment(const graft_segment_decl& decl, Declarations& out) const {
    Segment segment{
        std::string(view(decl.name)), decl.parent,         decl.component, decl.activation_values_per_token,
        decl.input_values_per_token,  decl.flops_per_token};
    check_component(segment.name, decl.component);
    require(decl.parent >= -1 && decl.parent < static_cast<std::int32_t>(out.segments.size()),
            cat("the parent of segment ", segment.name), decl.parent);
    out.segments.push_back(std::move(segment));
  }

  void check_component(const std::string& name, std::int32_t component) const {
    require(component >= GRAFT_COMPONENT_LANGUAGE && component <= GRAFT_COMPONENT_HEAD,
            cat("the component of ", name), component);
  }

  const std::string& family_;
  const graft_family_desc& desc_;
};

}  // namespace

Family::Family(std::shared_ptr<plugin::Instance> instance)
    : instance_(std::move(instance)),
      table_(&instance_->interface<graft_model_family>(GRAFT_INTERFACE_MODEL_FAMILY)),
      mutex_(&own_mutex_) {
  static std::recursive_mutex serial;  // libraries that want one call at a time share it
  const std::uint32_t thread_class = instance_->component().table->thread_class;
  if (thread_class == GRAFT_THREAD_CONCURRENT) mutex_ = nullptr;
  if (thread_class == GRAFT_THREAD_SERIAL) mutex_ = &serial;
}

std::shared_ptr<const Family> Family::open(plugin::Registry& registry, const OpenOptions& options,
                                           const ModelDirectory& directory,
                                           const text::Tokenizer& tokenizer) {
  const plugin::Component component = options.family == "auto"
                                          ? probe_all(registry, directory)
                                          : registry.find(GRAFT_KIND_MODEL_FAMILY, options.family);
  const std::shared_ptr<Family> family(new Family(
      registry.create(component, nlohmann::json::parse(options.family_params), "model.family_params")));
  const std::string path = directory.path.string();
  graft_family_files files{};
  files.hdr = GRAFT_HDR(graft_family_files);
  files.directory = view(path);
  files.config_json = view(directory.config);
  files.preprocessor_config_json = view(directory.preprocessor);
  files.generation_config_json = view(directory.generation);
  files.tokenizer_config_json = view(directory.tokenizer);
  files.chat_template = view(directory.chat_template);
  files.context = const_cast<text::Tokenizer*>(&tokenizer);
  files.token_id = token_id;
  family->call_on_user_data(
      "open", [&](graft_error* error) { return family->table().open(family->instance(), &files, error); });
  return family;
}

Declarations Family::describe() const {
  const graft_family_desc* desc = nullptr;
  call("describe", [&](graft_error* error) { return table().describe(instance(), &desc, error); });
  if (desc == nullptr)
    throw support::PluginError(cat("model_family ", name(), ": describe gave no description"));
  return Checker(name(), *desc).run();
}

void Family::call(const char* what, const std::function<graft_status(graft_error*)>& slot) const {
  std::unique_lock<std::recursive_mutex> lock;
  if (mutex_ != nullptr) lock = std::unique_lock(*mutex_);
  const c10::AutoGradMode restore(c10::GradMode::is_enabled());
  plugin::call(cat("model_family ", name(), ": ", what), slot);
}

void Family::call_on_user_data(const char* what,
                               const std::function<graft_status(graft_error*)>& slot) const {
  call(what, [&](graft_error* error) {
    const graft_status status = slot(error);
    if (status == GRAFT_E_INVALID_ARGUMENT || status == GRAFT_E_UNSUPPORTED) {
      throw UserError(std::string(error->text, error->length));
    }
    return status;
  });
}

}  // namespace graft::model
