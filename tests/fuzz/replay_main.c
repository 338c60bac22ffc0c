/* Runs a fuzz entry without libFuzzer: every file of the corpus, then a fixed number of random
 * mutations, spread over the files, from a printed seed. What the sanitizers find ends the run. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buf.h"
#include "clock.h"
#include "file.h"
#include "fuzz.h"

/* All entries together then take some ten seconds of tests/run, also where one run takes a
 * millisecond. */
enum { MUTATIONS = 1000, INPUT_MAX = 1 << 20, ROOM_TO_GROW = 64 };

/* Only entries whose inputs need it have one. */
#pragma weak LLVMFuzzerCustomMutator

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

/* A few changes, each of one byte, one bit, the length, or a piece put elsewhere. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max)
{
    for (uint64_t n = next_random() % 4 + 1; n > 0 && size > 0; n--) {
        size_t at = (size_t)(next_random() % size);
        size_t grow = MIN((size_t)(next_random() % 16), size_max - size);

        switch (next_random() % 5) {
        case 0:
            data[at] = (uint8_t)next_random();
            break;
        case 1:
            data[at] ^= (uint8_t)(1u << (next_random() % 8));
            break;
        case 2:
            size = at;
            break;
        case 3:
            memmove(data + at + grow, data + at, size - at);
            size += grow;
            break;
        default:
            memmove(data + at, data, MIN(size - at, (size_t)16));
            break;
        }
    }
    return size;
}

static void run_mutations(const struct strbuf *input, int n)
{
    size_t size_max = input->len + ROOM_TO_GROW;
    _cleanup_free_ uint8_t *data = xmalloc(size_max);

    for (int i = 0; i < n; i++) {
        size_t size = input->len;

        if (size > 0) {
            memcpy(data, input->data, size);
        }
        size = LLVMFuzzerCustomMutator != NULL
            ? LLVMFuzzerCustomMutator(data, size, size_max, (unsigned)next_random())
            : LLVMFuzzerMutate(data, size, size_max);
        run_copy(data, size);
    }
}

/* Runs every file of the folder with n mutations of each; n < 0 only counts them. */
static int run_folder(DIR *dir, int n)
{
    struct dirent *entry;
    int files = 0;

    rewinddir(dir);
    while ((entry = readdir(dir)) != NULL) {
        _cleanup_strbuf_ struct strbuf input = {0};

        if (entry->d_name[0] == '.') {
            continue;
        }
        files++;
        if (n >= 0 && file_read_at(dirfd(dir), entry->d_name, INPUT_MAX, &input, NULL) == 0) {
            run_copy(input.data, input.len);
            run_mutations(&input, n);
        }
    }
    return files;
}

int main(int argc, char **argv)
{
    const char *seed = getenv("DECREE_FUZZ_SEED");
    int files;
    DIR *dir;

    if (argc != 2 || (dir = opendir(argv[1])) == NULL) {
        fprintf(stderr, "usage: %s CORPUS-FOLDER\n", argv[0]);
        return 2;
    }
    rng = seed != NULL ? strtoull(seed, NULL, 10) : clock_boot_ns();
    rng |= 1;
    printf("DECREE_FUZZ_SEED=%llu\n", (unsigned long long)rng);
    fflush(stdout);
    files = run_folder(dir, -1);
    (void)run_folder(dir, files > 0 ? 1 + MUTATIONS / files : 0);
    closedir(dir);
    printf("%d files replayed\n", files);
    return files > 0 ? 0 : 1;
}
