/* SPDX-License-Identifier: Apache-2.0 */
#ifndef LOG_H
#define LOG_H

#include "check.h"

/*
 * The process's own log: start, drain, configuration, endpoints, what went wrong. One line each, to stderr, as
 * "2026-11-21T03:40:59.123456Z warn upstream: text". Not for requests: those have the access log. Any thread.
 */
enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_set_level(enum log_level);
void log_at(enum log_level, const char *area, const char *fmt, ...) printf_like(3, 4);

#define log_error(area, ...) log_at(LOG_ERROR, area, __VA_ARGS__)
#define log_warn(area, ...)  log_at(LOG_WARN, area, __VA_ARGS__)
#define log_info(area, ...)  log_at(LOG_INFO, area, __VA_ARGS__)
#define log_debug(area, ...) log_at(LOG_DEBUG, area, __VA_ARGS__)

/* At most one line a second from one place; the next line says how many were left out. */
struct log_limit { _Atomic unsigned long long last_ns; _Atomic unsigned held; };
void log_limited(struct log_limit *, enum log_level, const char *area, const char *fmt, ...) printf_like(4, 5);

#endif
