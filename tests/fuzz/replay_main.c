/* Runs a fuzz entry without libFuzzer: every file of the corpus, then a fixed number of random
 * mutations of each, from a printed seed. What the sanitizers find ends the run. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "clock.h"
#include "file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { MUTATIONS_PER_FILE = 300, INPUT_MAX = 1 << 20 };

static uint64_t rng;

static uint64_t next_random(void)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return rng;
}

/* An exactly sized heap copy, so that a read past the end is seen. */
static void run_copy(const uint8_t *data, size_t len)
{
    uint8_t *copy = xmalloc(len != 0 ? len : 1);

    if (len != 0) {
        memcpy(copy, data, len);
    }
    (void)LLVMFuzzerTestOneInput(copy, len);
    free(copy);
}

static void run_mutations(const struct strbuf *input)
{
    for (int i = 0; i < MUTATIONS_PER_FILE; i++) {
        _cleanup_strbuf_ struct strbuf m = {0};

        strbuf_append_bytes(&m, strbuf_bytes(input));
        for (uint64_t n = next_random() % 4 + 1; n > 0 && m.len > 0; n--) {
            size_t at = (size_t)(next_random() % m.len);

            switch (next_random() % 4) {
            case 0:
                m.data[at] = (uint8_t)next_random();
                break;
            case 1:
                m.data[at] ^= (uint8_t)(1u << (next_random() % 8));
                break;
            case 2:
                m.len = at;
                break;
            default:
                memmove(m.data + at, m.data, MIN(m.len - at, (size_t)16));
                break;
            }
        }
        run_copy(m.data, m.len);
    }
}

int main(int argc, char **argv)
{
    const char *seed = getenv("DECREE_FUZZ_SEED");
    size_t files = 0;
    struct dirent *entry;
    DIR *dir;

    if (argc != 2 || (dir = opendir(argv[1])) == NULL) {
        fprintf(stderr, "usage: %s CORPUS-FOLDER\n", argv[0]);
        return 2;
    }
    rng = seed != NULL ? strtoull(seed, NULL, 10) : clock_boot_ns();
    rng |= 1;
    printf("DECREE_FUZZ_SEED=%llu\n", (unsigned long long)rng);
    fflush(stdout);
    while ((entry = readdir(dir)) != NULL) {
        _cleanup_strbuf_ struct strbuf input = {0};

        if (entry->d_name[0] == '.' ||
            file_read_at(dirfd(dir), entry->d_name, INPUT_MAX, &input, NULL) < 0) {
            continue;
        }
        run_copy(input.data, input.len);
        run_mutations(&input);
        files++;
    }
    closedir(dir);
    printf("%zu files replayed\n", files);
    return files > 0 ? 0 : 1;
}
