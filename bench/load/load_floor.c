/* floor: 512 bytes appended and synced, again and again, into a file that is zero-filled
 * beforehand, so that no sync carries metadata. A serial put cannot be faster than this. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "alloc.h"
#include "clock.h"
#include "die.h"
#include "file.h"
#include "load.h"

enum { FLOOR_FILE_BYTES = 16 << 20, FLOOR_RECORD_BYTES = 512, FILL_BYTES = 1 << 20 };

static int floor_file(const char *path)
{
    _cleanup_free_ uint8_t *zeros = xcalloc(1, FILL_BYTES);
    int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0) {
        die("%s: %s", path, strerror(errno));
    }
    for (int i = 0; i < FLOOR_FILE_BYTES / FILL_BYTES; i++) {
        int r = file_write_all(fd, bytes_make(zeros, FILL_BYTES));

        if (r < 0) {
            (void)unlink(path);
            die("%s: %s", path, strerror(-r));
        }
    }
    if (fsync(fd) < 0) {
        die("%s: %s", path, strerror(errno));
    }
    (void)unlink(path);
    return fd;
}

void load_floor(const struct settings *s, struct load_result *ret)
{
    _cleanup_free_ char *path = xasprintf("%s/decree-bench.%d", s->values[SETTING_DIR], getpid());
    struct histogram *latency = load_result_figure(ret, "latency");
    uint8_t record[FLOOR_RECORD_BYTES];
    _cleanup_close_ int fd = floor_file(path);
    uint64_t ops_max = setting_number(s, SETTING_OPS), now, end;
    off_t at = 0;

    memset(record, 0x5a, sizeof(record));
    load_result_measure_begin(ret, s);
    now = clock_boot_ns();
    end = now + (uint64_t)(setting_seconds(s, SETTING_SECONDS) * 1e9);
    while (now < end && (ops_max == 0 || ret->ops < ops_max)) {
        uint64_t start = now;

        if (pwrite(fd, record, sizeof(record), at) != (ssize_t)sizeof(record) ||
            fdatasync(fd) < 0) {
            die("%s: %s", path, strerror(errno));
        }
        now = clock_boot_ns();
        histogram_add(latency, now - start);
        ret->ops++;
        at = (at + FLOOR_RECORD_BYTES) % FLOOR_FILE_BYTES;
    }
    load_result_measure_end(ret, s);
}
