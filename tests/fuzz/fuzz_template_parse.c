/* Any bytes as a template's source: a tree or a message, and the lint copes with the tree. */
#include "template.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void ignore_warning(void *data _unused_, const char *text _unused_) {}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    _cleanup_err_ struct err err = {0};
    struct template *t;

    if (template_parse("fuzz", bytes_make(data, size), NULL, &t, &err) == 0) {
        template_lint(t, ignore_warning, NULL);
        template_free(t);
    } else {
        decree_assert(err.text != NULL);
    }
    return 0;
}
