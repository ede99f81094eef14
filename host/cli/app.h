// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace graft::cli {

// The graft command: parses the command line, runs one subcommand, and turns exceptions into a message on stderr and an exit
// code: 0 done, 2 user's input, 3 plugin or ABI, 4 pointless, 5 diverged, 6 out of memory, 75 interrupted and resumable,
// 1 a defect of graft.
int run(int argc, char** argv);

}  // namespace graft::cli
