#include "server_usage.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "alloc.h"
#include "die.h"
#include "file.h"

enum { PROC_FILE_BYTES_MAX = 64 * 1024 };

static const char *proc_read(pid_t pid, const char *name, struct strbuf *ret)
{
    _cleanup_free_ char *path = xasprintf("/proc/%d/%s", (int)pid, name);
    _cleanup_err_ struct err e = {0};

    strbuf_clear(ret);
    if (file_read(path, PROC_FILE_BYTES_MAX, ret, &e) < 0) {
        die("a measured server cannot be read: %s", e.text);
    }
    return strbuf_cstr(ret);
}

/* The number behind "name:" in a file of such lines, 0 when absent. */
static uint64_t labelled(const char *text, const char *label)
{
    const char *found = strstr(text, label);

    return found != NULL ? strtoull(found + strlen(label), NULL, 10) : 0;
}

static uint64_t cpu_us_of(const char *stat)
{
    /* Fields are counted from behind the name, which may hold blanks: utime and stime are the 12th
     * and 13th there (proc(5)). */
    const char *p = strrchr(stat, ')');
    uint64_t utime, stime;

    for (int field = 0; p != NULL && field < 12; field++) {
        p = strchr(p + 1, ' ');
    }
    if (p == NULL || sscanf(p, " %" SCNu64 " %" SCNu64, &utime, &stime) != 2) {
        die("/proc/PID/stat does not look as proc(5) says");
    }
    return (utime + stime) * 1000000u / (uint64_t)sysconf(_SC_CLK_TCK);
}

struct server_usage server_usage_read(const pid_t *pids, size_t n)
{
    struct server_usage u = {0};
    _cleanup_strbuf_ struct strbuf text = {0};

    for (size_t i = 0; i < n; i++) {
        const char *status;

        u.cpu_us += cpu_us_of(proc_read(pids[i], "stat", &text));
        status = proc_read(pids[i], "status", &text);
        u.rss_bytes += labelled(status, "VmRSS:") * 1024;
        u.peak_bytes += labelled(status, "VmHWM:") * 1024;
        u.written_bytes += labelled(proc_read(pids[i], "io", &text), "\nwrite_bytes:");
    }
    return u;
}

uint64_t own_cpu_us(void)
{
    struct rusage r;

    (void)getrusage(RUSAGE_SELF, &r);
    return (uint64_t)(r.ru_utime.tv_sec + r.ru_stime.tv_sec) * 1000000u +
        (uint64_t)(r.ru_utime.tv_usec + r.ru_stime.tv_usec);
}
