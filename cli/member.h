/* What the commands about members share: the list, and finding one in it. */
#ifndef DECREE_CLI_MEMBER_H
#define DECREE_CLI_MEMBER_H

#include "cmd.h"
#include "v3_client.h"

/* The members as the quorum has them, an array that is the caller's. As v3_call. */
int member_list(struct v3_client *client, json_t **ret, struct err *reterr);
const json_t *member_by_id(const json_t *members, uint64_t id);
/* By its name or its hexadecimal id. -EINVAL when there is none, or when several have the name; but
 * for `without` (or NULL), which is passed over. */
int member_resolve(const json_t *members, const char *word, const json_t *without,
    const json_t **ret, struct err *reterr);
/* A member that has one of these URLs, or NULL. */
const json_t *member_by_urls(const json_t *members, const json_t *urls);
static inline bool member_is_learner(const json_t *member)
{
    return json_is_true(json_object_get(member, "isLearner"));
}
static inline bool member_is_started(const json_t *member)
{
    return v3_text(member, "name")[0] != 0;
}

/* As cmd_fail, and what to do about a refusal. */
int member_fail(int outcome, const struct err *e);
/* --peer-urls, split; the caller's. -EINVAL when it is missing. */
int member_urls(const struct args *args, json_t **ret, struct err *reterr);
/* What to run where the new member is to be: its name, members as they are now. */
void member_print_start(const char *name, const json_t *urls, const json_t *members, FILE *out);
/* {"ID": …} to that path; the reply is the caller's. */
int member_request(
    struct v3_client *client, const char *path, uint64_t id, json_t **ret, struct err *reterr);

#endif
