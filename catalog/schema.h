// SPDX-License-Identifier: MIT
//
// The tables of the catalog, and the steps that bring an older catalog to them. Private to
// catalog/.
//
// PRAGMA application_id says that a database is a catalog, PRAGMA user_version which step it has
// reached. A step that was released never changes; a new one is added behind it. Each step is one
// transaction, so a crash leaves a catalog of the version before or of the version after.
#ifndef CATALOG_SCHEMA_H
#define CATALOG_SCHEMA_H

#include "catalog/connection.h"

#include <stddef.h>

#define SCHEMA_APPLICATION_ID 0x42545245 // "BTRE"

struct schema_step {
    int version; // 1, 2, …
    const char *sql;
};

// The steps of this program, in order.
const struct schema_step *schema_steps(size_t *ret_count);

// Every step on an empty database, and the repository's uuid, in one transaction.
int schema_create(struct catalog_conn *conn, const char *repository_uuid, struct error *err);

// That it is a catalog, not newer than the last of `steps`, and of this repository.
// -ERROR_CORRUPT, -EPROTONOSUPPORT.
int schema_check(struct catalog_conn *conn, const struct schema_step *steps, size_t count,
                 const char *repository_uuid, int *ret_version, struct error *err);

// Takes the steps behind `version`.
int schema_migrate(struct catalog_conn *conn, const struct schema_step *steps, size_t count,
                   int version, struct error *err);

// That every foreign key refers to a row that is there: 0 or -ERROR_CORRUPT with the first that
// does not.
int schema_check_foreign_keys(struct catalog_conn *conn, struct error *err);

#endif
