/* One question to the port of a member, by one who is no member yet and has no loop to run:
 * connect, ask, read to the end, all within one limit. */
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <http_parser.h>
#include <inttypes.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "clock.h"
#include "peer_hello.h"
#include "peer_internal.h"

/* Thirty-one members with all their URLs, names and removed ids. */
enum { ANSWER_BYTES_MAX = 2 << 20, READ_BYTES = 16 << 10 };

/* ---- the answer ---- */

struct answer {
    struct strbuf *body;
    bool done;
};

static int on_body(http_parser *parser, const char *at, size_t len)
{
    struct answer *a = parser->data;

    strbuf_append(a->body, at, len);
    return 0;
}

static int on_done(http_parser *parser)
{
    struct answer *a = parser->data;

    a->done = true;
    http_parser_pause(parser, 1);
    return 0;
}

int peer_fetch_parse(struct bytes b, struct strbuf *ret, struct err *reterr)
{
    static const http_parser_settings settings = {
        .on_body = on_body, .on_message_complete = on_done};
    struct answer a = {.body = ret};
    http_parser parser;

    http_parser_init(&parser, HTTP_RESPONSE);
    parser.data = &a;
    (void)http_parser_execute(&parser, &settings, (const char *)b.data, b.len);
    if (!a.done) {
        (void)http_parser_execute(&parser, &settings, NULL, 0); /* the end of the connection */
    }
    if (!a.done) {
        return err_set(reterr, DECREE_EBAD_REQUEST, "what it answered is no HTTP, or not whole");
    }
    if (parser.status_code == PEER_STATUS_JOINING) {
        return err_set(reterr, DECREE_EBAD_REQUEST, "it has not joined the cluster itself yet");
    }
    if (parser.status_code != 200) {
        return err_set(reterr, DECREE_EBAD_REQUEST,
            "it answered with HTTP status %u: is this the port for other members?",
            parser.status_code);
    }
    return 0;
}

/* ---- the exchange ---- */

/* 0 when fd is ready for events before the deadline, or -ETIMEDOUT. */
static int wait_for(int fd, short events, uint64_t deadline_ms)
{
    struct pollfd p = {.fd = fd, .events = events};
    int n;

    do {
        uint64_t now = clock_boot_ms();

        n = now < deadline_ms ? poll(&p, 1, (int)(deadline_ms - now)) : 0;
    } while (n < 0 && errno == EINTR);
    return n > 0 ? 0 : n < 0 ? -errno : -ETIMEDOUT;
}

static int connect_within(const struct addrinfo *to, uint64_t deadline_ms, int *ret)
{
    int fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    int failed = 0, err = 0;
    socklen_t len = sizeof(failed);

    if (fd < 0) {
        return -errno;
    }
    if (connect(fd, to->ai_addr, to->ai_addrlen) < 0 && errno != EINPROGRESS) {
        err = -errno;
    }
    err = err < 0 ? err : wait_for(fd, POLLOUT, deadline_ms);
    if (err == 0 && getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &len) < 0) {
        err = -errno;
    }
    err = err < 0 ? err : -failed;
    if (err < 0) {
        (void)close(fd);
        return err;
    }
    *ret = fd;
    return 0;
}

static int send_all(int fd, struct bytes b, uint64_t deadline_ms)
{
    while (b.len > 0) {
        ssize_t n = send(fd, b.data, b.len, MSG_NOSIGNAL);

        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            return -errno;
        }
        if (n < 0) {
            int err = wait_for(fd, POLLOUT, deadline_ms);

            if (err < 0) {
                return err;
            }
            continue;
        }
        b = bytes_make(b.data + n, b.len - (size_t)n);
    }
    return 0;
}

static int read_all(int fd, struct strbuf *ret, uint64_t deadline_ms)
{
    char part[READ_BYTES];

    for (;;) {
        int err = wait_for(fd, POLLIN, deadline_ms);
        ssize_t n;

        if (err < 0) {
            return err;
        }
        n = recv(fd, part, sizeof(part), 0);
        if (n == 0) {
            return 0;
        }
        if (n < 0 && errno != EAGAIN && errno != EINTR) {
            return -errno;
        }
        if (n > 0) {
            strbuf_append(ret, part, (size_t)n);
        }
        if (ret->len > ANSWER_BYTES_MAX) {
            return -EFBIG;
        }
    }
}

static int exchange(
    const struct addrinfo *to, struct bytes request, uint64_t deadline_ms, struct strbuf *ret)
{
    int fd = -1;
    int err = connect_within(to, deadline_ms, &fd);

    if (err < 0) {
        return err;
    }
    err = send_all(fd, request, deadline_ms);
    err = err < 0 ? err : read_all(fd, ret, deadline_ms);
    (void)close(fd);
    return err;
}

int peer_fetch_members(
    const char *host, uint16_t port, unsigned timeout_ms, struct strbuf *ret, struct err *reterr)
{
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    _cleanup_strbuf_ struct strbuf request = {0};
    _cleanup_strbuf_ struct strbuf answer = {0};
    struct addrinfo *list = NULL;
    char service[8];
    int err;

    (void)snprintf(service, sizeof(service), "%u", port);
    err = getaddrinfo(host, service, &hints, &list);
    if (err != 0) {
        return err_set(reterr, -EADDRNOTAVAIL, "%s", gai_strerror(err));
    }
    peer_hello_ask_members(host, port, &request);
    err = exchange(list, strbuf_bytes(&request), clock_boot_ms() + timeout_ms, &answer);
    freeaddrinfo(list);
    if (err < 0) {
        return err_set(
            reterr, err, "%s", err == -ETIMEDOUT ? "it did not answer in time" : strerror(-err));
    }
    return peer_fetch_parse(strbuf_bytes(&answer), ret, reterr);
}
