/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sessions to be resumed, one for an endpoint and worker: what it saves is the handshakes of an endpoint that is asked often, and
 * with `host: client`, where names are callers' to choose, it cannot be filled up.
 */
#include "tls_session.h"

#include <openssl/ssl.h>
#include <string.h>
#include "lib/mem.h"

void tls_session_forget(struct tls_session *s)
{
    SSL_SESSION_free(s->session);
    mem_free(s->name);
    *s = (struct tls_session){.epoch = s->epoch};
}

SSL_SESSION *tls_session_find(struct tls_session *s, struct str name, uint64_t now)
{
    if (!s->session || !str_eq(str_of(s->name, s->name_len), name))
        return NULL;
    if (now < s->until)
        return s->session;
    tls_session_forget(s);
    return NULL;
}

void tls_session_keep(struct tls_session *s, struct str name, SSL_SESSION *session, uint64_t until)
{
    if (!s->name || !str_eq(str_of(s->name, s->name_len), name)) {
        mem_free(s->name);
        s->name = mem_alloc(name.len + 1);
        memcpy(s->name, name.at, name.len);
        s->name[name.len] = '\0';
        s->name_len = name.len;
    }
    SSL_SESSION_free(s->session);
    s->session = session;
    s->until = until;
}
