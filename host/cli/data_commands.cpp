// SPDX-License-Identifier: Apache-2.0
// data shapes: generated grounding data.
#include <memory>

#include "cli/commands.h"
#include "data/shapes.h"
#include "image/scene.h"
#include "support/log.h"
#include "support/strings.h"

namespace graft::cli {

void add_data_commands(CLI::App& app) {
  struct Options {
    std::string out;
    data::ShapesOptions shapes;
  };
  auto options = std::make_shared<Options>();
  CLI::App* data = app.add_subcommand("data", "Data sets")->require_subcommand(1);
  CLI::App* shapes = data->add_subcommand(
      "shapes", "Writes PNG scenes of coloured shapes with referring questions, in VLM-R1's JSONL format");
  shapes->add_option("--out", options->out, "directory to write; must not exist or be empty")->required();
  shapes->add_option("--n", options->shapes.count, "scenes")->capture_default_str();
  shapes->add_option("--seed", options->shapes.seed, "equal seeds give equal files")->capture_default_str();
  shapes->add_option("--size", options->shapes.size, "width and height in pixels")->capture_default_str();
  shapes->add_option("--min-shapes", options->shapes.min_shapes, "fewest shapes of a scene")
      ->capture_default_str();
  shapes->add_option("--max-shapes", options->shapes.max_shapes, "most shapes of a scene")
      ->capture_default_str();
  shapes->callback([options] {
    data::write_shapes(options->out, options->shapes, image::scene_png);
    support::log_info(support::cat(options->shapes.count, " scenes written to ", options->out));
  });
}

}  // namespace graft::cli
