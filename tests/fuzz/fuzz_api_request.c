/* A request in either form, as far as it goes without a store: byte 0 chooses the method and the
 * form, the rest is the message. What decodes must pass through the store's own checks. */
#include "decode.h"
#include "json_proto.h"
#include "method.h"
#include "proto_guard.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct store_call *call)
{
    switch (call->kind) {
    case STORE_RANGE:
        (void)range_request_check(&call->range);
        break;
    case STORE_PUT:
        (void)put_request_check(&call->put);
        break;
    case STORE_DELETE:
        (void)delete_request_check(&call->del);
        break;
    case STORE_TXN:
        if (txn_request_check(&call->txn) == 0) {
            (void)txn_request_is_readonly(&call->txn);
        }
        break;
    default:
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_arena_ struct arena arena = {.limit = 1 << 20};
    struct store_call call = {0};
    ProtobufCMessage *m = NULL;
    const struct method *method;
    struct bytes b;
    bool ok;

    if (size == 0) {
        return 0;
    }
    method = &methods[(data[0] & 0x7f) % METHOD_COUNT];
    b = bytes_make(data + 1, size - 1);
    ok = (data[0] & 0x80) != 0 ? json_to_proto(method->request, b, &arena, &m, NULL) == 0
                               : proto_decode(method->request, b, &arena, &m) == PROTO_OK;
    if (ok && method->decode != NULL && method->decode(m, &arena, &call) == 0) {
        check(&call);
    }
    return 0;
}
