/* The simulator's command line. Exit status: 0 nothing was violated, 1 something was, 2 usage. */
#include <getopt.h>
#include <stdio.h>

#include "crew.h"

static const char usage[] =
    "usage: sim --seeds N [--first SEED] [--minutes M] [-j JOBS] [--replay-check PERMILLE]\n"
    "           [--scripts FOLDER]    many seeds; failing ones are shrunk into FOLDER\n"
    "       sim --seed SEED [--trace] one; --trace prints every event\n"
    "       sim --script FILE [--trace]\n"
    "       sim --draw SEED           print the seed's plan as a script\n"
    "       sim --shrink SEED         print a script with what it fails without taken away\n"
    "       sim --shrink-script FILE  the same of a script\n";

struct command {
    struct crew_options crew;
    const char *script, *shrink_script;
    uint64_t seed, draw, shrink;
    bool trace;
};

static int read_script(const char *path, struct plan *ret)
{
    _cleanup_strbuf_ struct strbuf text = {0};
    _cleanup_err_ struct err err = {0};
    FILE *file = fopen(path, "re");
    size_t n;

    if (file == NULL) {
        (void)fprintf(stderr, "sim: cannot open %s\n", path);
        return -1;
    }
    do {
        n = fread(strbuf_reserve(&text, 4096), 1, 4096, file);
        text.len += n;
    } while (n > 0);
    (void)fclose(file);
    if (plan_read(strbuf_cstr(&text), ret, &err) < 0) {
        (void)fprintf(stderr, "sim: %s: %s\n", path, err.text);
        return -1;
    }
    return 0;
}

static int tell(const struct outcome *o)
{
    printf("%s: steps %" PRIu64 ", virtual time %.1f s, trace %016" PRIx64 "\n",
        o->failed ? o->failure : "nothing violated", o->steps, (double)o->virtual_us / 1e6,
        o->hash);
    return o->failed;
}

static int run_plan(struct plan *plan, bool trace)
{
    struct outcome o;

    world_run(plan, trace, &o);
    plan_deinit(plan);
    (void)tell(&o);
    if (o.counts.fatals != 0 || o.failed) { /* of these members the memory is left over */
        (void)fflush(NULL);
        _exit(o.failed);
    }
    return 0;
}

static int shrink_plan(struct plan *plan)
{
    _cleanup_strbuf_ struct strbuf text = {0};
    struct outcome o;

    if (!plan_shrink(plan, &o)) {
        plan_deinit(plan);
        return tell(&o);
    }
    plan_write(plan, o.failure, &text);
    (void)fwrite(text.data, 1, text.len, stdout);
    plan_deinit(plan);
    return 1;
}

static int do_command(const struct command *c)
{
    struct plan plan;

    if (c->script != NULL || c->shrink_script != NULL) {
        if (read_script(c->script != NULL ? c->script : c->shrink_script, &plan) < 0) {
            return 2;
        }
        return c->script != NULL ? run_plan(&plan, c->trace) : shrink_plan(&plan);
    }
    if (c->draw != 0) {
        _cleanup_strbuf_ struct strbuf text = {0};

        plan_draw(c->draw, &plan);
        plan_write(&plan, "drawn", &text);
        (void)fwrite(text.data, 1, text.len, stdout);
        plan_deinit(&plan);
        return 0;
    }
    if (c->seed != 0 || c->shrink != 0) {
        plan_draw(c->seed != 0 ? c->seed : c->shrink, &plan);
        return c->seed != 0 ? run_plan(&plan, c->trace) : shrink_plan(&plan);
    }
    return crew_run(&c->crew);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"seeds", required_argument, NULL, 'n'},
        {"first", required_argument, NULL, 'f'}, {"minutes", required_argument, NULL, 'm'},
        {"replay-check", required_argument, NULL, 'r'}, {"scripts", required_argument, NULL, 'o'},
        {"seed", required_argument, NULL, 's'}, {"script", required_argument, NULL, 'p'},
        {"draw", required_argument, NULL, 'd'}, {"shrink", required_argument, NULL, 'k'},
        {"shrink-script", required_argument, NULL, 'K'}, {"trace", no_argument, NULL, 't'}, {0}};
    struct command c = {
        .crew = {.first = 1, .seeds = UINT64_MAX / 2, .jobs = 1, .replay_permille = 10}};
    bool any = false;
    int o;

    while ((o = getopt_long(argc, argv, "j:", options, NULL)) >= 0) {
        uint64_t number = optarg != NULL ? strtoull(optarg, NULL, 10) : 0;

        any = true;
        switch (o) {
        case 'n':
            c.crew.seeds = number;
            break;
        case 'f':
            c.crew.first = number;
            break;
        case 'm':
            c.crew.minutes = strtod(optarg, NULL);
            break;
        case 'r':
            c.crew.replay_permille = number;
            break;
        case 'o':
            c.crew.folder = optarg;
            break;
        case 'j':
            c.crew.jobs = (unsigned)number;
            break;
        case 's':
            c.seed = number;
            break;
        case 'p':
            c.script = optarg;
            break;
        case 'd':
            c.draw = number;
            break;
        case 'k':
            c.shrink = number;
            break;
        case 'K':
            c.shrink_script = optarg;
            break;
        case 't':
            c.trace = true;
            break;
        default:
            any = false;
            break;
        }
    }
    if (!any || optind != argc || c.crew.jobs == 0 || c.crew.jobs > 64 || c.crew.first == 0) {
        (void)fputs(usage, stderr);
        return 2;
    }
    return do_command(&c);
}
