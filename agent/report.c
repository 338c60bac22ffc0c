#include "report.h"

#include <jansson.h>

/* A hook may print anything; JSON takes UTF-8 only. */
static json_t *text_json(const char *text)
{
    json_t *json = json_string(text);

    if (json == NULL) {
        _cleanup_free_ char *ascii = xstrdup(text);

        for (char *p = ascii; *p != '\0'; p++) {
            *p = (*p & 0x80) != 0 ? '?' : *p;
        }
        json = json_string(ascii);
    }
    return json;
}

static void set_time(json_t *json, const char *name, uint64_t ms)
{
    (void)json_object_set_new(json, name, json_integer((json_int_t)ms));
}

char *report_text(const char *agent, const char *resource, const char *dest,
    const struct unit_status *status, int64_t revision)
{
    json_t *json = json_object();
    char *text;

    (void)json_object_set_new(json, "agent", text_json(agent));
    (void)json_object_set_new(json, "resource", text_json(resource));
    (void)json_object_set_new(json, "dest", text_json(dest));
    (void)json_object_set_new(json, "state", text_json(unit_condition_text(status->condition)));
    (void)json_object_set_new(json, "revision", json_integer(revision));
    (void)json_object_set_new(json, "rendered_revision", json_integer(status->rendered_revision));
    set_time(json, "file_changed_ms", status->file_changed_ms);
    set_time(json, "reloaded_ms", status->reloaded_ms);
    (void)json_object_set_new(json, "error", text_json(status->error));
    (void)json_object_set_new(json, "stale", json_boolean(status->stale));
    set_time(json, "since_ms", status->since_ms);
    text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    if (text == NULL) {
        decree_fatal("a report cannot be written as JSON");
    }
    return text;
}
