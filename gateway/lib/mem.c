/* SPDX-License-Identifier: Apache-2.0 */
/*
 * malloc() and its family, with one answer to failure.
 *
 * A size of 0 is asked for as 1, so that NULL never comes back and every result may be freed. The message is written
 * without the heap.
 */
#include "lib/mem.h"

#include <stdint.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static _Noreturn void out_of_memory(size_t size)
{
    dprintf(2, "weir: out of memory (%zu bytes)\n", size);
    abort();
}

static void *not_null(void *at, size_t size)
{
    if (__builtin_expect(!at, 0))
        out_of_memory(size);
    return at;
}

void *mem_alloc(size_t size) { return not_null(malloc(size ? size : 1), size); }

void *mem_zalloc(size_t size) { return not_null(calloc(1, size ? size : 1), size); }

void *mem_array(size_t n, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(n, size, &bytes))
        out_of_memory(SIZE_MAX);
    return mem_zalloc(bytes);
}

void *mem_realloc(void *old, size_t size) { return not_null(realloc(old, size ? size : 1), size); }

char *mem_strdup(const char *text)
{
    size_t size = strlen(text) + 1;
    return memcpy(mem_alloc(size), text, size);
}

void mem_free(void *at) { free(at); }

/* The compiler is not to know the size: else it would put its own in place of the call here, too. */
void mem_zero(void *at, size_t size)
{
    __asm__("" : "+r"(size));
    memset(at, 0, size);
}

void mem_trim(void) { (void)malloc_trim(0); }
