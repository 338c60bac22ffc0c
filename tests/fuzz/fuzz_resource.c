/* The INI parser of resources: any bytes give a resource that holds its invariants, or an error
 * with a text. */
#include "resource.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_err_ struct err e = {0};
    struct resource *r = NULL;

    if (size > RESOURCE_FILE_MAX) {
        return 0;
    }
    if (resource_parse("fuzz", "fuzz.conf", bytes_make(data, size), "/t", &r, &e) < 0) {
        decree_assert(e.text != NULL && r == NULL);
        return 0;
    }
    decree_assert(r->dest[0] == '/' && strncmp(r->src, "/t/", 3) == 0);
    decree_assert(r->n_scopes > 0 && r->quiet_min_ms <= r->quiet_max_ms);
    for (size_t i = 0; i < r->n_scopes; i++) {
        decree_assert(r->scopes[i][0] == '/');
        decree_assert(i == 0 || strcmp(r->scopes[i - 1], r->scopes[i]) < 0);
    }
    decree_assert(r->check.argv == NULL || r->check.argv[0] != NULL);
    resource_free(r);
    return 0;
}
