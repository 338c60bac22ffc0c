/* A configuration file of the daemons, beside a few words on the command line. Any bytes are
 * refused with a text that says where, or give options that are within their bounds and mean the
 * same when they are handed on to another process. Input: the arguments, each ended by a zero byte,
 * behind an empty one the file. */
#include "fuzz.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "alloc.h"
#include "options.h"

enum { ARGS_MAX = 8 };

static char path[] = "/tmp/decree-fuzz-XXXXXX";
static int fd = -1;

static void remove_file(void)
{
    (void)unlink(path);
}

static void write_file(const uint8_t *data, size_t size)
{
    if (fd < 0) {
        fd = mkstemp(path);
        decree_assert(fd >= 0);
        (void)atexit(remove_file);
    }
    decree_assert(ftruncate(fd, 0) == 0 && pwrite(fd, data, size, 0) == (ssize_t)size);
}

/* The same options as flags alone, as the supervisor hands them to store and agent. */
static void check_handed_on(const struct options *o, enum option_program program)
{
    const char *argv[OPT_END * 2 + 2] = {"decreed"};
    struct options again = {0};
    int n = options_to_argv(o, program, argv, 1);
    _cleanup_err_ struct err e = {0};
    int rc = options_read(&again, program, n, (char *const *)argv, &e);

    decree_assert(rc == 0);
    for (enum option_id id = 0; id < OPT_END; id++) {
        if (option_is_set(&again, id)) {
            decree_assert(strcmp(option_string(o, id), option_string(&again, id)) == 0);
        }
    }
    options_deinit(&again);
}

static void check(const struct options *o)
{
    _cleanup_free_ char *data_dir = option_data_dir(o);
    _cleanup_free_ char *state_dir = option_state_dir(o);
    _cleanup_free_ char *agent_socket = option_agent_socket(o);
    _cleanup_free_ char *endpoints = option_endpoints(o);

    decree_assert(
        data_dir != NULL && state_dir != NULL && agent_socket != NULL && endpoints != NULL);
    decree_assert(option_number(o, OPT_SNAPSHOT_COUNT) >= 10);
    decree_assert(option_number(o, OPT_QUOTA_BACKEND_BYTES) >= 1 << 20);
    decree_assert(option_number(o, OPT_HEARTBEAT_INTERVAL) <= 60000);
    (void)option_flag(o, OPT_ONCE);
    for (enum option_id id = 0; id < OPT_END; id++) {
        decree_assert(!option_is_set(o, id) || option_origin(o, id)[0] != '\0');
    }
    check_handed_on(o, FOR_STORE);
    check_handed_on(o, FOR_AGENT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *argv[ARGS_MAX + 2] = {"decreed", "--config-file"};
    char *copies[ARGS_MAX] = {0};
    struct options o = {0};
    _cleanup_err_ struct err e = {0};
    int argc = 3, n_copies = 0, rc;

    while (size > 0 && data[0] != 0 && argc < ARGS_MAX) {
        size_t len = strnlen((const char *)data, size);

        copies[n_copies] = xstrndup((const char *)data, len);
        argv[argc++] = copies[n_copies++];
        data += MIN(len + 1, size);
        size -= MIN(len + 1, size);
    }
    write_file(size > 0 ? data + 1 : data, size > 0 ? size - 1 : 0);
    argv[2] = path;
    rc = options_read(&o, FOR_BOTH, argc, argv, &e);
    decree_assert(rc < 0 ? e.text != NULL : rc <= OPTIONS_VERSION);
    if (rc == 0) {
        check(&o);
    }
    options_deinit(&o);
    for (int i = 0; i < n_copies; i++) {
        free(copies[i]);
    }
    return 0;
}
