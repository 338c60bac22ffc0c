/* Who is in the cluster, from bytes of others: configuration entries and snapshot headers (raft's
 * list, behind it the table with names and URLs), a member's word about itself, and the text of
 * --initial-cluster. What decodes holds its invariants and encodes to the same again. */
#include "fuzz.h"

#include <string.h>

#include "codec.h"
#include "members.h"
#include "raft.h"

enum { URLS_MAX = 4 };

static void check_table(const struct members *m)
{
    for (size_t i = 0; i < m->n; i++) {
        decree_assert(m->list[i].id != 0 && (i == 0 || m->list[i].id > m->list[i - 1].id));
        decree_assert(members_find(m, m->list[i].id) == &m->list[i]);
        decree_assert(m->list[i].name != NULL);
    }
}

static void check_round_trip(const struct members *m)
{
    _cleanup_strbuf_ struct strbuf one = {0}, two = {0};
    struct members again;
    int rc;

    members_encode(m, &one);
    rc = members_decode(strbuf_bytes(&one), &again);
    decree_assert(rc == 0);
    members_encode(&again, &two);
    decree_assert(bytes_eq(strbuf_bytes(&one), strbuf_bytes(&two)));
    members_deinit(&again);
}

static void publish(struct members *m, struct dec *d)
{
    struct bytes urls[URLS_MAX];
    struct members_publication p = {.id = m->n > 0 ? m->list[dec_u8(d) % m->n].id : dec_u64(d),
        .incarnation = dec_u8(d),
        .name = dec_bytes(d),
        .urls = urls};

    for (p.n_urls = 0; p.n_urls < URLS_MAX && dec_left(d) > 0; p.n_urls++) {
        urls[p.n_urls] = dec_bytes(d);
    }
    if (members_publish(m, &p)) {
        decree_assert(!members_publish(m, &p)); /* said twice, nothing changes */
    }
}

static void try_conf(struct bytes b)
{
    _cleanup_strbuf_ struct strbuf again = {0};
    struct raft_conf conf;
    struct bytes context = {0};
    struct members m;

    if (raft_conf_decode(b, &conf, &context) != 0) {
        return;
    }
    decree_assert(conf.n > 0 && conf.n <= RAFT_MEMBERS_MAX);
    for (size_t i = 0; i < conf.n; i++) {
        decree_assert(conf.members[i].id > (i > 0 ? conf.members[i - 1].id : 0));
    }
    raft_conf_encode(&conf, context, &again);
    decree_assert(again.len <= b.len);
    if (members_decode(context, &m) == 0) {
        check_table(&m);
        check_round_trip(&m);
        members_deinit(&m);
    }
}

static void try_table(struct bytes table, struct dec *rest)
{
    struct members m;

    if (members_decode(table, &m) == 0) {
        check_table(&m);
        check_round_trip(&m);
        for (int i = 0; i < 3 && dec_left(rest) > 0; i++) {
            publish(&m, rest);
            check_table(&m);
            check_round_trip(&m);
        }
        members_deinit(&m);
    }
}

static void try_text(struct bytes b)
{
    _cleanup_free_ char *text = xstrndup((const char *)b.data, b.len);
    _cleanup_free_ char *host = NULL;
    _cleanup_err_ struct err e = {0}, url_error = {0};
    struct members m;
    uint16_t port = 0;

    if (members_parse(text, "token", &m, &e) == 0) {
        check_table(&m);
        check_round_trip(&m);
        members_deinit(&m);
    } else {
        decree_assert(e.text != NULL);
    }
    if (peer_url_parse(text, &host, &port, &url_error) == 0) {
        decree_assert(host[0] != '\0' && port != 0 && strchr(host, '/') == NULL);
    } else {
        decree_assert(url_error.text != NULL && host == NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct dec d = dec_make(bytes_make(data, size));
    uint8_t what = dec_u8(&d);

    if (what % 3 == 0) {
        try_conf(bytes_make(d.p, dec_left(&d)));
    } else if (what % 3 == 1) {
        struct bytes table = dec_bytes(&d);

        try_table(table, &d);
    } else {
        try_text(bytes_make(d.p, dec_left(&d)));
    }
    return 0;
}
