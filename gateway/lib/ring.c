/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A ring of whole records in a flat buffer.
 *
 * head and tail only grow; their low bits are the place in the buffer, the rest is the lap. head - tail <= size. A
 * record that does not fit before the end of the buffer begins at the next lap, and `wrap` says where the bytes of
 * the lap left behind end. One `wrap` is enough: the producer leaves another lap only after the consumer has finished
 * the one before, because a lap is as long as the buffer. A `wrap` that is not between the tail and the end of its
 * lap belongs to an earlier one, and means that this lap is full to its end.
 *
 * The producer publishes bytes and `wrap` by storing head with release; the consumer gives space back by storing tail
 * with release.
 */
#include "lib/ring.h"

#include <stdint.h>
#include "lib/check.h"
#include "lib/mem.h"

void ring_init(struct ring *r, size_t size)
{
    size_t rounded = 16;
    check(size <= SIZE_MAX / 4);
    while (rounded < size)
        rounded *= 2;
    *r = (struct ring){.bytes = mem_alloc(rounded), .size = rounded};
    atomic_init(&r->wrap, SIZE_MAX);
}

void ring_fini(struct ring *r)
{
    mem_free(r->bytes);
    r->bytes = NULL;
}

static size_t lap_end(const struct ring *r, size_t at) { return (at | (r->size - 1)) + 1; }

static char *drop(struct ring *r)
{
    /* One writer: no atomic addition is needed. */
    uint64_t n = atomic_load_explicit(&r->dropped, memory_order_relaxed);
    atomic_store_explicit(&r->dropped, n + 1, memory_order_relaxed);
    r->reserved = 0;
    return NULL;
}

char *ring_reserve(struct ring *r, size_t len)
{
    size_t place = atomic_load_explicit(&r->head, memory_order_relaxed);
    if (len > r->size / 2)
        return drop(r);
    if (len > lap_end(r, place) - place)
        place = lap_end(r, place);
    if (place + len - r->tail_seen > r->size) {
        r->tail_seen = atomic_load_explicit(&r->tail, memory_order_acquire);
        if (place + len - r->tail_seen > r->size)
            return drop(r);
    }
    r->place = place;
    r->reserved = len;
    return r->bytes + (place & (r->size - 1));
}

void ring_commit(struct ring *r, size_t len)
{
    check(len <= r->reserved);
    r->reserved = 0;
    if (len == 0)
        return;
    size_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
    if (r->place != head)
        atomic_store_explicit(&r->wrap, head, memory_order_relaxed);
    atomic_store_explicit(&r->head, r->place + len, memory_order_release);
}

size_t ring_peek(struct ring *r, const char **at)
{
    size_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    size_t head = atomic_load_explicit(&r->head, memory_order_acquire);
    size_t end = head;

    if (head > lap_end(r, tail)) {
        size_t wrap = atomic_load_explicit(&r->wrap, memory_order_relaxed);
        end = lap_end(r, tail);
        if (wrap == tail) {
            tail = end;
            end = head;
            atomic_store_explicit(&r->tail, tail, memory_order_release);
        } else if (wrap > tail && wrap < end) {
            end = wrap;
        }
    }
    *at = r->bytes + (tail & (r->size - 1));
    return end - tail;
}

void ring_release(struct ring *r, size_t len)
{
    size_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
    check(len <= atomic_load_explicit(&r->head, memory_order_relaxed) - tail);
    atomic_store_explicit(&r->tail, tail + len, memory_order_release);
}
