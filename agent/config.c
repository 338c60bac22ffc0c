#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "file.h"
#include "log.h"
#include "template.h"

static const char suffix[] = ".conf";

/* Hidden files and editors' leftovers are not configuration. */
static int is_conf(const struct dirent *d)
{
    size_t len = strlen(d->d_name);

    return d->d_name[0] != '.' && len > sizeof(suffix) - 1 &&
        strcmp(d->d_name + len - (sizeof(suffix) - 1), suffix) == 0;
}

static void add_fault(struct config *c, const char *name, const char *dest, const char *text)
{
    c->faults = xreallocarray(c->faults, c->n_faults + 1, sizeof(*c->faults));
    c->faults[c->n_faults++] = (struct config_fault){
        .name = xstrdup(name),
        .dest = dest != NULL ? xstrdup(dest) : NULL,
        .text = xstrdup(text),
    };
}

static struct config_folder folder_of(const char *dest)
{
    _cleanup_free_ char *path = xstrndup(dest, (size_t)(strrchr(dest, '/') - dest) + 1);
    struct stat st;

    /* One that is not there yet, or cannot be looked at, fails when the file is written. */
    if (stat(path, &st) < 0) {
        return (struct config_folder){.exists = false};
    }
    return (struct config_folder){.exists = true, .dev = st.st_dev, .ino = st.st_ino};
}

/* The resource that makes the same file already: by its path, or by another path to its folder. */
static const struct resource *with_file(
    const struct config *c, const char *dest, const struct config_folder *folder)
{
    const char *name = strrchr(dest, '/');

    for (size_t i = 0; i < c->n_resources; i++) {
        const struct config_folder *f = &c->folders[i];
        const char *other = c->resources[i]->dest;

        if (strcmp(other, dest) == 0 ||
            (folder->exists && f->exists && f->ino == folder->ino && f->dev == folder->dev &&
                strcmp(strrchr(other, '/'), name) == 0)) {
            return c->resources[i];
        }
    }
    return NULL;
}

/* Two resources of one file would overwrite each other, and each other's stage. */
static int refuse_second(const struct config *c, const char *path, const struct resource *r,
    const struct config_folder *folder, struct err *reterr)
{
    const struct resource *other = with_file(c, r->dest, folder);

    if (other == NULL) {
        return 0;
    }
    if (strcmp(other->dest, r->dest) == 0) {
        return err_set(reterr, -EINVAL, "%s: dest %s belongs to %s%s already", path, r->dest,
            other->name, suffix);
    }
    return err_set(reterr, -EINVAL,
        "%s: dest %s is the file %s, which belongs to %s%s already: a folder on the way is a "
        "symbolic link or a mount",
        path, r->dest, other->dest, other->name, suffix);
}

static void warn_lint(void *data, const char *text)
{
    const struct resource *r = data;

    log_warn("template does what may surprise: %s unit=%s", text, r->name);
}

static void load_one(
    struct config *c, const char *folder, const char *file_name, const char *template_dir)
{
    _cleanup_free_ char *path = xasprintf("%s/%s", folder, file_name);
    _cleanup_free_ char *name = xstrndup(file_name, strlen(file_name) - (sizeof(suffix) - 1));
    _cleanup_strbuf_ struct strbuf text = {0};
    _cleanup_err_ struct err e = {0};
    struct config_folder dest_folder = {0};
    struct resource *r = NULL;
    int rc = strlen(name) <= CONFIG_NAME_MAX
        ? file_read(path, RESOURCE_FILE_MAX, &text, &e)
        : err_set(&e, -ENAMETOOLONG, "%s: a name longer than %d bytes", path, CONFIG_NAME_MAX);

    if (rc == 0) {
        rc = resource_parse(name, path, strbuf_bytes(&text), template_dir, &r, &e);
    }
    if (rc == 0) {
        rc = resource_load_template(r, &e);
    }
    if (rc == 0) {
        dest_folder = folder_of(r->dest);
        rc = refuse_second(c, path, r, &dest_folder, &e);
    }
    if (rc < 0) {
        add_fault(c, name, r != NULL ? r->dest : NULL, e.text);
        resource_free(r);
        return;
    }
    template_lint(r->template, warn_lint, r);
    c->resources = xreallocarray(c->resources, c->n_resources + 1, sizeof(struct resource *));
    c->folders = xreallocarray(c->folders, c->n_resources + 1, sizeof(*c->folders));
    c->folders[c->n_resources] = dest_folder;
    c->resources[c->n_resources++] = r;
}

int config_load(const char *conf_dir, struct config *ret, struct err *reterr)
{
    _cleanup_free_ char *folder = xasprintf("%s/conf.d", conf_dir);
    _cleanup_free_ char *template_dir = xasprintf("%s/templates", conf_dir);
    struct dirent **entries = NULL;
    int n = scandir(folder, &entries, is_conf, alphasort);

    if (n < 0) {
        int rc = -errno;

        return err_set(reterr, rc,
            "cannot read the folder %s: %s (resources are files NAME.conf in it)", folder,
            strerror(-rc));
    }
    *ret = (struct config){0};
    for (int i = 0; i < n; i++) {
        if (i < CONFIG_RESOURCES_MAX) {
            load_one(ret, folder, entries[i]->d_name, template_dir);
        }
        free(entries[i]);
    }
    free(entries);
    if (n > CONFIG_RESOURCES_MAX) {
        config_deinit(ret);
        return err_set(
            reterr, -E2BIG, "%s holds more than %d resources", folder, CONFIG_RESOURCES_MAX);
    }
    return 0;
}

void config_fault_deinit(struct config_fault *f)
{
    free(f->name);
    free(f->dest);
    free(f->text);
}

void config_deinit(struct config *c)
{
    for (size_t i = 0; i < c->n_resources; i++) {
        resource_free(c->resources[i]);
    }
    for (size_t i = 0; i < c->n_faults; i++) {
        config_fault_deinit(&c->faults[i]);
    }
    free(c->resources);
    free(c->folders);
    free(c->faults);
    *c = (struct config){0};
}
