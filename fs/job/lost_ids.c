// SPDX-License-Identifier: MIT
//
// A sorted list of ids.
#include "fs/job/lost_ids.h"

#include "base/grow.h"
#include "catalog/damage.h"

#include <stdlib.h>

static int add(const struct digest *id, void *arg, struct error *err)
{
    struct lost_ids *lost = arg;

    if (GROW(lost->ids, lost->count, lost->room, "a list of lost records", err) < 0)
        return -ENOMEM;
    lost->ids[lost->count++] = *id;
    return 0;
}

int lost_ids_load(struct lost_ids *lost, struct catalog *catalog, struct error *err)
{
    AUTO(catalog_read_end) struct catalog_conn *conn = NULL;
    int r = catalog_read_begin(catalog, &conn, err);

    return r < 0 ? r : damage_each_lost(conn, add, lost, err);
}

void lost_ids_deinit(struct lost_ids *lost)
{
    free(lost->ids);
    *lost = (struct lost_ids){0};
}

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, DIGEST_SIZE);
}

bool lost_ids_have(const struct lost_ids *lost, const struct digest *id)
{
    return lost->count > 0 && bsearch(id, lost->ids, lost->count, sizeof(*lost->ids), compare);
}
