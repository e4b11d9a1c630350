// SPDX-License-Identifier: MIT
//
// Checking a catalog that may be large, so that it can be given up.
#ifndef CATALOG_CHECK_WATCHED_H
#define CATALOG_CHECK_WATCHED_H

#include "catalog/catalog.h"

// catalog_check(), on a thread of its own. `tick` is called on the caller's before it begins and
// ten times a second while it goes on; what it returns, unless 0, ends the check soon and is the
// result. `conn` is leased by the caller, who must not use it meanwhile.
int catalog_check_watched(struct catalog_conn *conn, bool full,
                          int (*tick)(void *arg, struct error *err), void *arg, struct error *err);

#endif
