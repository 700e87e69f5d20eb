/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CHECK_H
#define CHECK_H

/*
 * Checks for bugs, never for input. They stay on in production: a gateway that goes on after a broken invariant
 * gives one caller's answer to another. A failed check says where, and aborts.
 */

#include <stddef.h>

#define must_check __attribute__((warn_unused_result))
#define printf_like(fmt, args) __attribute__((format(printf, fmt, args)))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr) - offsetof(type, member)))
#define array_len(a) (sizeof(a) / sizeof((a)[0]))

#define check(cond) ((cond) ? (void)0 : check_failed(#cond, __FILE__, __LINE__, __func__))
#define unreachable() check_failed("unreachable", __FILE__, __LINE__, __func__)

/* Called once before the process aborts (to dump traces); set in main.c. */
void check_set_hook(void (*hook)(void));

_Noreturn void check_failed(const char *cond, const char *file, int line, const char *func);

#endif
