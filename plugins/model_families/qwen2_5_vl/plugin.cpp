// SPDX-License-Identifier: Apache-2.0
#include "family.h"
#include "rotary.h"

namespace qwen2_5_vl {

bool Family::probe(const graft::Json& config) {
  const graft::Json* type = config.find("model_type");
  return type != nullptr && type->is_string() && type->as_string() == "qwen2_5_vl";
}

void Family::open(const graft::FamilyFiles& files) {
  config_ = read_config(files);
  layout_ = declare_layout(config_, declare);

  const TextConfig& text = config_.text;
  std::vector<std::int64_t> rows;
  for (std::size_t section = 0; section < text.mrope_section.size(); ++section) {
    rows.insert(rows.end(), static_cast<std::size_t>(text.mrope_section[section]),
                static_cast<std::int64_t>(section % 3));
  }
  section_rows_ = Tensor::from(rows);
  text_frequencies_ = rotary_frequencies(text.rope_theta, text.head_dim);
  vision_frequencies_ = rotary_frequencies(config_.vision.rope_theta, config_.vision.head_dim / 2);
}

}  // namespace qwen2_5_vl

GRAFT_PLUGIN(qwen2_5_vl::Family);
