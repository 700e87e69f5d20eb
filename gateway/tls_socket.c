/* SPDX-License-Identifier: Apache-2.0 */
/* OpenSSL on a socket, with its answers in the words of an event loop. */
#include "tls_socket.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include "lib/mem.h"
#include "tls.h"
#include "tls_client.h"

struct tls_socket {
    SSL *ssl;
    const char *why;
    bool done, failed;
};

struct tls_socket *tls_socket_new(const struct tls_client *client, int fd, struct str name)
{
    struct tls_socket *s = mem_zalloc(sizeof *s);
    s->ssl = tls_client_ssl(client, name);
    s->why = "";
    check(SSL_set_fd(s->ssl, fd) == 1);
    return s;
}

void tls_socket_free(struct tls_socket **sp)
{
    struct tls_socket *s = *sp;
    *sp = NULL;
    if (!s)
        return;
    if (s->done && !s->failed)
        (void)SSL_shutdown(s->ssl);
    ERR_clear_error();
    SSL_free(s->ssl);
    mem_free(s);
}

static enum tls_io result_of(struct tls_socket *s, int result)
{
    switch (SSL_get_error(s->ssl, result)) {
    case SSL_ERROR_NONE:
        return TLS_IO_DONE;
    case SSL_ERROR_WANT_READ:
        return TLS_IO_WANT_READ;
    case SSL_ERROR_WANT_WRITE:
        return TLS_IO_WANT_WRITE;
    case SSL_ERROR_ZERO_RETURN:
        return TLS_IO_END;
    default:
        break;
    }
    struct tls_failure failure = tls_client_failure(s->ssl);
    s->failed = true;
    s->why = failure.text ? failure.text : "the connection ended";
    return TLS_IO_FAILED;
}

enum tls_io tls_socket_shake(struct tls_socket *s)
{
    ERR_clear_error();
    enum tls_io io = result_of(s, SSL_do_handshake(s->ssl));
    s->done = io == TLS_IO_DONE;
    return io;
}

enum tls_io tls_socket_write(struct tls_socket *s, const void *at, size_t len, size_t *n)
{
    *n = 0;
    ERR_clear_error();
    return result_of(s, SSL_write_ex(s->ssl, at, len, n));
}

enum tls_io tls_socket_read(struct tls_socket *s, void *at, size_t cap, size_t *n)
{
    *n = 0;
    ERR_clear_error();
    return result_of(s, SSL_read_ex(s->ssl, at, cap, n));
}

const char *tls_socket_why(const struct tls_socket *s) { return s->why; }
