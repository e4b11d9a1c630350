// SPDX-License-Identifier: MIT
//
// Paths as users write them, resolved in a catalog with the VM v and its disk d. What resolves
// names exactly what was found; a chain's name and its number say the same.
#include "catalog/path.h"
#include "tests/fuzz/fuzz_store.h"

static struct catalog_conn *conn; // one view for all inputs: the catalog does not change

static void fill_catalog(void)
{
    struct catalog_conn *writer;
    int64_t context, disk;

    MUST(catalog_write_begin(fuzz_catalog, &writer, NULL) == 0);
    MUST(context_insert(writer, "v", &context, NULL) == 0);
    MUST(disk_insert(writer, context, "d", 65536, &disk, NULL) == 0);
    MUST(catalog_write_commit(writer, NULL) == 0);
}

static void check_resolve(const char *text)
{
    static struct catalog_path path;
    struct error err = ERROR_INIT;
    char again[NAME_SIZE * 4], given[NAME_SIZE * 4 + 8];

    memset(&path, 0xa5, sizeof(path));
    int r = catalog_path_resolve(conn, text, &path, &err);
    if (r < 0) {
        fuzz_check_refusal(r, &err);
        MUST(r == -EINVAL || r == -ENOENT || r == -ENAMETOOLONG);
        MUST(fuzz_all(&path, sizeof(path), 0xa5));
        return;
    }
    MUST(path.depth == PATH_CONTEXT || path.depth == PATH_DISK);
    snprintf(again, sizeof(again), "%s%s%s", path.context.name, path.depth == PATH_DISK ? "/" : "",
             path.depth == PATH_DISK ? path.disk.name : "");
    snprintf(given, sizeof(given), "%s", strncmp(text, "vms/", 4) == 0 ? text + 4 : text);
    if (given[strlen(given) - 1] == '/')
        given[strlen(given) - 1] = '\0';
    MUST(strcmp(given, again) == 0);
}

static void end_view(void)
{
    catalog_read_end(conn);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = fuzz_text(data, size);
    char name[SNAPSHOT_NAME_SIZE];

    if (!conn) {
        fuzz_store();
        fill_catalog();
        MUST(catalog_read_begin(fuzz_catalog, &conn, NULL) == 0);
        atexit(end_view); // before the catalog is closed
    }
    if (!text)
        return 0;
    int64_t number = chain_number_from_name(text);
    MUST(number >= 0 && (number == 0 || strcmp(chain_name(number, name), text) == 0));
    check_resolve(text);
    free(text);
    return 0;
}
