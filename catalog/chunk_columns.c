// SPDX-License-Identifier: MIT
//
// Rows of chunks, column by column.
#include "catalog/chunk_columns.h"

int chunk_columns_read(struct statement *st, struct chunk_location *ret_location, struct error *err)
{
    *ret_location = (struct chunk_location){0};
    statement_digest(st, &ret_location->record.id);
    ret_location->record.kind = (uint8_t)statement_size(st);
    ret_location->record.codec = (uint8_t)statement_size(st);
    ret_location->record.offset = statement_size(st);
    ret_location->record.stored_length = statement_size32(st);
    ret_location->record.raw_length = statement_size32(st);
    statement_digest(st, &ret_location->record.base);
    ret_location->row = statement_int(st);
    ret_location->damaged = statement_int(st) != 0;
    ret_location->pack_id = statement_int(st);
    statement_text(st, ret_location->pack_uuid, sizeof(ret_location->pack_uuid));
    return statement_check_row(st, err);
}

int chunk_columns_each(struct statement *st,
                       int (*fn)(const struct chunk_location *location, void *arg,
                                 struct error *err),
                       void *arg, struct error *err)
{
    int rc = 0;
    while (rc == 0 && (rc = statement_step(st, err)) > 0) {
        struct chunk_location location;
        rc = chunk_columns_read(st, &location, err);
        if (rc == 0)
            rc = fn(&location, arg, err);
    }
    return rc;
}

int chunk_ids_each(struct statement *st,
                   int (*fn)(const struct digest *id, void *arg, struct error *err), void *arg,
                   struct error *err)
{
    int rc = 0;
    while (rc == 0 && (rc = statement_step(st, err)) > 0) {
        struct digest id;
        statement_digest(st, &id);
        rc = statement_check_row(st, err);
        if (rc == 0)
            rc = fn(&id, arg, err);
    }
    return rc;
}
