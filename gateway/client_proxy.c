/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The PROXY header in front of a client's connection, which says whom it is for.
 *
 * Whether there is one is a matter of the address that the connection comes from, never of its bytes: from a trusted one it must
 * be there, and from another it is not looked for. So nobody can choose who he is by sending one, or pass for the proxy by
 * leaving it out. What it says is believed as the connection's peer is: the caller of limits, of the log and of the forwarding
 * fields, whose own X-Forwarded-For counts only if `trusted_proxies` has its address.
 *
 * The bytes are looked at where they are and only the header's own are taken out, so that whatever speaks next, HTTP or TLS,
 * finds the socket as if there had been none. Nothing is answered to a header that is wrong: whoever sent it is no client.
 */
#include "client_impl.h"

#include "lib/log.h"
#include "lib/mem.h"
#include "listener.h"

enum client_start client_start_of(const struct listen_conf *conf, const struct ip *peer)
{
    if (!conf->proxy.on)
        return CLIENT_STARTS_PLAIN;
    /* Who may open a unix socket is the file system's to say: its peers have no address. */
    if (conf->address.sa.sa_family == AF_UNIX || forward_trusts(&conf->proxy.trusted, peer))
        return CLIENT_STARTS_PROXY;
    return conf->proxy.others == PROXY_OTHERS_SERVE ? CLIENT_STARTS_PLAIN : CLIENT_REFUSED;
}

void client_proxy_refuse(struct client *c, const char *why)
{
    static struct log_limit limit;
    struct worker *w = c->s.worker;
    metric_add(&w->metrics, METRIC_proxy_protocol_refused_total, 1);
    log_limited(&limit, LOG_WARN, "listener", STR_FMT ": PROXY protocol from %.*s: %s", STR_ARG(c->listener->conf->at),
                c->peer_text.len, c->peer_text.text, why);
    client_close(c, REASON_bad_request);
}

/* Its bytes were seen, so they are there. */
static bool header_take(struct client *c, size_t len)
{
    size_t n;
    for (; len > 0; len -= n)
        if (stream_read(&c->s, c->s.worker->scratch, len, &n) != IO_OK)
            return false;
    return true;
}

static void header_apply(struct client *c, const struct proxy_header *h)
{
    if (h->named) {
        c->proxied = mem_alloc(sizeof *c->proxied);
        *c->proxied = h->ends;
        c->peer = h->ends.source;
        forward_peer_init(&c->peer_text, &c->peer);
    }
    client_set_state(c, CLIENT_IDLE);    /* its time for the first head runs since it was accepted */
}

/* One connection too many for whom it is for. The proxy's own ones are not counted. */
static void admission_refuse(struct client *c, const struct admission *a)
{
    char text[LISTENER_REFUSAL_MAX];
    if (c->listener->conf->tls) {
        client_close(c, a->refused);     /* to say why would take the handshake that is refused */
        return;
    }
    stream_put_copy(&c->s, text, listener_refusal(a, text, sizeof text));
    client_finish(c);
}

bool client_proxy_read(struct client *c)
{
    struct proxy_header h;
    struct worker *w = c->s.worker;
    size_t n;
    enum io io = c->s.readable ? stream_peek(&c->s, w->scratch, PROXY_HEADER_MAX, &n) : IO_AGAIN;
    if (io == IO_AGAIN)
        return false;
    if (io != IO_OK) {
        client_close(c, REASON_client_gone);     /* without a word: such are checks that only connect */
        return false;
    }
    switch (proxy_protocol_parse(str_of(w->scratch, n), &h)) {
    case PARSE_MORE:
        c->s.readable = false;
        if (c->s.hangup || c->s.ops->broken(&c->s))      /* STREAM_LOOK_NS: and bytes that are only peeked at hide it */
            client_proxy_refuse(c, "the connection ended within the header");
        return false;
    case PARSE_BAD:
        client_proxy_refuse(c, h.fault);
        return false;
    case PARSE_OK:
        break;
    }
    if (!header_take(c, h.len)) {
        client_close(c, REASON_client_gone);
        return false;
    }
    c->s.readable = true;                /* more, or an end that came with it */
    header_apply(c, &h);
    struct admission a = {.refused = REASON_none};
    if (h.named)
        a = listener_admit(c->listener, &c->peer);
    c->counted = a.counted;
    if (a.refused != REASON_none) {
        admission_refuse(c, &a);
        return false;
    }
    client_begin(c);
    return true;
}

/* The ends of the connection that the request came by, as the header said them, or as they are. */
void client_ends(struct down *d, struct proxy_ends *out)
{
    const struct client *c = container_of(d, struct client, down);
    union { struct sockaddr sa; struct sockaddr_storage room; } a;
    socklen_t len = sizeof a;
    if (c->proxied) {
        *out = *c->proxied;
        return;
    }
    *out = (struct proxy_ends){.source = c->peer};
    if (c->s.fd < 0)
        return;                          /* a simulation's: its ends have no ports */
    if (getpeername(c->s.fd, &a.sa, &len) == 0)
        out->source_port = port_of_sockaddr(&a.sa);
    len = sizeof a;
    if (getsockname(c->s.fd, &a.sa, &len) == 0) {
        out->dest = ip_of_sockaddr(&a.sa);
        out->dest_port = port_of_sockaddr(&a.sa);
    }
}
