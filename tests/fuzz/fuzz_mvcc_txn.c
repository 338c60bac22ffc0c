/* The input chooses what is done to a keyspace and to the naive model; they must agree. */
#include "mvcc_model.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct model_source src = {.p = data, .end = data + size};

    model_drive(&src, 2000);
    return 0;
}
