// SPDX-License-Identifier: MIT
//
// Paths that users give for sources and targets, made absolute before they leave this process: the
// daemon that reads them has another working folder.
#ifndef TOOLS_GIVEN_PATH_H
#define TOOLS_GIVEN_PATH_H

#include "base/error.h"

// A path: the folder part is resolved (it must exist), the last part is kept as it is, so that a
// target that does not exist yet can be named and a link like /dev/VG/LV keeps its name. Malloc'ed.
int given_path_absolute(const char *path, char **ret_path, struct error *err);

// A source: absolute paths and texts with a prefix ("qcow2:", "nbd+unix:") stay as they are, other
// paths become absolute. A relative path with a colon in its name is given as "./a:b".
int given_path_source(const char *source, char **ret_source, struct error *err);

#endif
