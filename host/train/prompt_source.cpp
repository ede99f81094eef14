// SPDX-License-Identifier: Apache-2.0
#include "train/prompt_source.h"

#include <algorithm>

#include "image/image.h"
#include "support/error.h"
#include "support/log.h"
#include "support/strings.h"

namespace graft::train {

using support::cat;

PromptSource::PromptSource(const model::Model& model, const config::DataConfig& options,
                           SharedSamples samples, std::uint64_t seed)
    : model_(model),
      options_(options),
      samples_(std::move(samples)),
      order_(samples_->size(), seed, options.shuffle) {}

PromptSource::PromptSource(const model::Model& model, const config::DataConfig& options,
                           std::vector<data::Sample> samples, std::uint64_t seed)
    : PromptSource(model, options, std::make_shared<const std::vector<data::Sample>>(std::move(samples)),
                   seed) {}

PromptItem PromptSource::at(std::size_t index) const {
  const data::Sample& sample = samples_->at(index);
  std::vector<image::Image> images;
  std::vector<std::string> names;
  for (const auto& file : sample.images) {
    images.push_back(image::load_image(file));
    names.push_back(file.string());
  }
  std::vector<model::Message> messages;
  for (const data::Turn& turn :
       data::prompt_turns(sample, options_.question_template, options_.system_prompt)) {
    messages.push_back({turn.role, turn.text, turn.n_images});
  }
  PromptItem item;
  item.index = index;
  item.sample = &sample;
  item.prompt = model_.prepare(messages, images, names);
  const auto length = static_cast<std::int64_t>(item.prompt.ids.size());
  if (options_.max_prompt_length && length > *options_.max_prompt_length) {
    throw support::UserError(cat("the prompt has ", length, " tokens, data.max_prompt_length allows ",
                                 *options_.max_prompt_length, "; lower model.max_pixels or raise the limit"));
  }
  return item;
}

std::optional<PromptItem> PromptSource::usable(std::size_t index) const {
  try {
    return at(index);
  } catch (const support::UserError& error) {
    const std::string message = cat((*samples_)[index].where(), ": ", error.what());
    if (options_.strict) throw support::UserError(message);
    if (told_.insert(index).second) support::log_warn(cat("sample skipped: ", message));
    return std::nullopt;
  }
}

std::vector<PromptItem> PromptSource::draw(std::size_t count, std::int64_t* position,
                                           std::int64_t* skipped) const {
  std::vector<PromptItem> items;
  std::size_t failures = 0;
  while (items.size() < count) {
    const std::size_t index = order_.at(static_cast<std::uint64_t>((*position)++));
    if (std::optional<PromptItem> item = usable(index)) {
      items.push_back(std::move(*item));
      failures = 0;
      continue;
    }
    if (++failures >= samples_->size()) {
      throw support::UserError("no sample of the data set can be used; see the warnings above");
    }
    ++*skipped;
  }
  return items;
}

bool PromptSource::has_images() const {
  return std::any_of(samples_->begin(), samples_->end(),
                     [](const data::Sample& sample) { return !sample.images.empty(); });
}

}  // namespace graft::train
