/* SPDX-License-Identifier: Apache-2.0 */
/* What goes to an endpoint: the request's head written anew around the fields that stay, its body, its trailers. */
#include <string.h>

#include "core.h"
#include "forward.h"
#include "h1_write.h"
#include "lib/check.h"
#include "up_h1_impl.h"

/* May the request line go on byte for byte? */
static bool line_goes_on(const struct request *r)
{
    return r->head.minor == 1 && r->head.n > 0 && r->target.at == r->head.target.at
           && r->target.len == r->head.target.len;
}

static void put_host(struct upconn *c, struct request *r)
{
    const struct upstream_conf *conf = r->leg.conf;
    if (conf->host_mode == HOST_ENDPOINT)
        h1_put_field(&c->s, STR("Host"), c->endpoint->authority);
    else if (conf->host_mode == HOST_NAME)
        h1_put_field(&c->s, STR("Host"), conf->host_name);
    else if (r->authority.at)
        h1_put_field(&c->s, STR("Host"), r->authority);
    else
        h1_put_field(&c->s, STR("Host"), c->endpoint->authority);
}

static void up_head(struct up *up, struct request *r, struct body_frame frame)
{
    struct upconn *c = container_of(up, struct upconn, up);
    struct stream *s = &c->s;
    const char *from = NULL;
    bool own_host = r->leg.conf->host_mode != HOST_CLIENT || r->absolute || !r->has_host;

    if (line_goes_on(r)) {
        from = r->head.method.at;
    } else {
        stream_put(s, r->head.method.at, r->head.method.len);
        PUT_LIT(s, " ");
        stream_put(s, r->target.at, r->target.len);
        PUT_LIT(s, " HTTP/1.1\r\n");
    }
    if (own_host)
        http_head_remove_id(&r->head, HEADER_HOST);
    h1_put_fields(s, &r->head, from);
    if (own_host)
        put_host(c, r);
    stream_put(s, r->forward.at, r->forward.len);
    if (r->upgrade.len > 0) {
        PUT_LIT(s, "Connection: upgrade\r\n");
        h1_put_field(s, STR("Upgrade"), r->upgrade);
    } else if (r->te_trailers) {
        PUT_LIT(s, "TE: trailers\r\nConnection: TE\r\n");
    }
    c->send_chunked = frame.kind == FRAME_UNKNOWN;
    if (c->send_chunked)
        PUT_LIT(s, "Transfer-Encoding: chunked\r\n");
    PUT_LIT(s, "\r\n");
    c->head_request = r->head_method;
    c->await_continue = r->expect_continue && !r->continued;
    if (frame.kind != FRAME_NONE)    /* else up_end() follows, and does it */
        upconn_arm_exchange(c);
}

static void up_data(struct up *up, struct str data)
{
    struct upconn *c = container_of(up, struct upconn, up);
    if (c->state == UPCONN_BUSY && c->send_chunked)
        h1_put_chunk(&c->s, data);
    else
        stream_put(&c->s, data.at, data.len);
    c->await_continue = false;
    if (!c->paused)
        upconn_arm_exchange(c);
}

static void up_end(struct up *up, const struct http_head *trailers)
{
    struct upconn *c = container_of(up, struct upconn, up);
    if (c->send_chunked)
        h1_put_last_chunk(&c->s, trailers);
    c->sent_whole = true;
    if (c->recv == RECV_HEAD)
        upconn_arm_exchange(c);
}

static size_t up_flush(struct up *up)
{
    struct upconn *c = container_of(up, struct upconn, up);
    return stream_flush(&c->s);
}

static size_t up_room(struct up *up) { return stream_room(&container_of(up, struct upconn, up)->s); }

static void up_pause(struct up *up)
{
    struct upconn *c = container_of(up, struct upconn, up);
    c->paused = true;
    c->s.room = 0;
    timer_clear(&c->timer);          /* the client's slowness is not the endpoint's: its own deadline runs */
}

static void up_resume(struct up *up)
{
    struct upconn *c = container_of(up, struct upconn, up);
    bool paused = c->paused;
    c->paused = false;
    upconn_arm_exchange(c);          /* also when it was not paused: the request's deadline may have gone */
    if (paused && (c->s.readable || c->s.failed || c->in.rest))
        stream_make_ready(&c->s);
}

static void up_fin(struct up *up) { stream_finish(&container_of(up, struct upconn, up)->s); }

const struct up_ops upconn_ops = {
    .head = up_head, .data = up_data, .end = up_end, .flush = up_flush, .room = up_room, .pause = up_pause,
    .resume = up_resume, .fin = up_fin, .release = upconn_release,
};
