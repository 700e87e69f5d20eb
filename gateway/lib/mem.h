/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MEM_H
#define MEM_H

#include <stddef.h>

/*
 * The only door to the heap. Every queue, table and pool of weir is bounded by configuration, so running out of memory
 * means that the bounds were set above what the machine has: the process says so and ends, instead of limping.
 * Any thread.
 */

/* For the compiler: a new object, of the size that these arguments multiply to. So a copy past its end is caught (FORTIFY). */
#define mem_sized(...) __attribute__((malloc, returns_nonnull, alloc_size(__VA_ARGS__)))

mem_sized(1) void *mem_alloc(size_t size);                  /* not zeroed; never NULL */
mem_sized(1) void *mem_zalloc(size_t size);                 /* zeroed; never NULL */
mem_sized(1, 2) void *mem_array(size_t n, size_t size);     /* zeroed n * size, overflow checked; never NULL */
__attribute__((returns_nonnull, alloc_size(2)))
void *mem_realloc(void *old, size_t size);          /* never NULL */
char *mem_strdup(const char *text);                 /* the caller owns it */
void  mem_free(void *);                             /* NULL is legal */
/* Sets to zero by a call, which for more than some words takes half as long as what compilers put in its place (rep stos). */
void  mem_zero(void *at, size_t size);
void  mem_trim(void);                               /* what is free goes back to the system; takes time */

#endif
