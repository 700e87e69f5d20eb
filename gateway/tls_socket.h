/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TLS_SOCKET_H
#define TLS_SOCKET_H

#include <stddef.h>
#include "lib/check.h"
#include "lib/str.h"

/*
 * The client's end of TLS on a socket that does not block, apart from workers and streams: for checks of endpoints. It resumes
 * nothing, so each time the certificate is looked at. One thread. Between calls the caller awaits what the last one wanted.
 */
struct tls_client;
struct tls_socket;

enum tls_io { TLS_IO_DONE, TLS_IO_WANT_READ, TLS_IO_WANT_WRITE, TLS_IO_END, TLS_IO_FAILED };

/* The socket stays the caller's, and open until after tls_socket_free(). `name`: tls_client_ssl(). */
struct tls_socket *tls_socket_new(const struct tls_client *, int fd, struct str name);
/* Says close_notify if that goes at once. NULL in it is legal. */
void tls_socket_free(struct tls_socket **);

enum tls_io tls_socket_shake(struct tls_socket *) must_check;
/* *n: what was taken, or given; 0 unless DONE. */
enum tls_io tls_socket_write(struct tls_socket *, const void *at, size_t len, size_t *n) must_check;
enum tls_io tls_socket_read(struct tls_socket *, void *at, size_t cap, size_t *n) must_check;
/* Of FAILED: static. */
const char *tls_socket_why(const struct tls_socket *);

#endif
