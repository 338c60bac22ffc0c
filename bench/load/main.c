#include <string.h>

#include "die.h"
#include "load.h"

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        enum kv_mode mode;
    } modes[] = {{"put", KV_PUT}, {"range", KV_RANGE}, {"mixed", KV_MIXED}, {"txn", KV_TXN},
        {"fill", KV_FILL}};
    const char *name = argc > 1 ? argv[1] : "help";
    struct load_result result = {0};
    struct settings settings;
    size_t i = 0;

    if (strcmp(name, "help") == 0 || strcmp(name, "--help") == 0 || strcmp(name, "-h") == 0) {
        settings_help();
        return argc > 1 ? 0 : 2;
    }
    settings_read(&settings, argc - 2, argv + 2);
    while (i < ARRAY_SIZE(modes) && strcmp(modes[i].name, name) != 0) {
        i++;
    }
    if (i < ARRAY_SIZE(modes)) {
        load_kv(modes[i].mode, &settings, &result);
    } else if (strcmp(name, "watch") == 0) {
        load_watch(&settings, &result);
    } else if (strcmp(name, "floor") == 0) {
        load_floor(&settings, &result);
    } else {
        die("there is no mode %s; see decree-bench help", name);
    }
    load_result_print(&result, name, &settings);
    load_result_deinit(&result);
    return result.errors != 0;
}
