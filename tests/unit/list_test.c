/* SPDX-License-Identifier: Apache-2.0 */
#include "lib/list.h"

#include "lib/check.h"
#include "test.h"

struct item {
    char name;
    struct list link;
};

/* The names in order; also that the links back agree. */
static const char *names(struct list *l)
{
    static char text[10];
    size_t n = 0;
    for (struct list *p = l->next; p != l && n < sizeof(text) - 1; p = p->next) {
        EXPECT(p->next->prev == p && p->prev->next == p);
        text[n++] = container_of(p, struct item, link)->name;
    }
    text[n] = '\0';
    return text;
}

TEST(order)
{
    struct list l;
    struct item a = {.name = 'a'}, b = {.name = 'b'}, c = {.name = 'c'}, d = {.name = 'd'};
    list_init(&l);
    EXPECT(list_empty(&l));
    EXPECT_EQ(list_pop(&l), NULL);
    list_append(&l, &b.link);
    list_append(&l, &c.link);
    list_push(&l, &a.link);
    EXPECT_CSTR(names(&l), "abc");
    list_insert(&b.link, &d.link);
    EXPECT_CSTR(names(&l), "abdc");
    list_remove(&b.link);
    EXPECT_CSTR(names(&l), "adc");
    EXPECT(list_empty(&b.link));
    list_remove(&b.link);
    EXPECT_CSTR(names(&l), "adc");
    EXPECT_EQ(list_pop(&l), &a.link);
    EXPECT(list_empty(&a.link));
    EXPECT_EQ(list_pop(&l), &d.link);
    EXPECT_EQ(list_pop(&l), &c.link);
    EXPECT(list_empty(&l));
}
