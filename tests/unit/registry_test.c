/* SPDX-License-Identifier: Apache-2.0 */
#include "conf/field.h"
#include "filter.h"
#include "test.h"

static void check_fields(const char *filter, const struct field *fields)
{
    for (const struct field *f = fields; f && f->type != FIELD_END; f++) {
        test_row("%s: %s", filter, f->key);
        EXPECT(f->key && f->key[0]);
        EXPECT(f->help && f->help[0]);
        EXPECT(!f->required || !f->fallback);
        if (f->type == FIELD_MAP)
            check_fields(filter, f->sub);
    }
}

TEST(every_filter_can_be_named_read_and_shown)
{
    unsigned n = 0;
    for (const struct filter *const *f = filters_all; *f; f++, n++) {
        test_row("%u", n);
        if (!EXPECT((*f)->name && (*f)->name[0]))
            continue;
        test_row("%s", (*f)->name);
        EXPECT_EQ(strspn((*f)->name, "abcdefghijklmnopqrstuvwxyz_"), strlen((*f)->name));
        EXPECT((*f)->help && (*f)->help[strlen((*f)->help) - 1] == '.');
        EXPECT((*f)->places && !((*f)->places & ~(unsigned)PLACE_ANY));
        EXPECT((*f)->fields == NULL || (*f)->options_size > 0);
        EXPECT(((*f)->shared_size > 0) == ((*f)->shared_adopt != NULL));
        EXPECT(((*f)->attempt_size == 0) || (*f)->places == PLACE_UPSTREAM);
        check_fields((*f)->name, (*f)->fields);
        for (const struct filter *const *other = filters_all; other < f; other++)
            EXPECT(strcmp((*f)->name, (*other)->name) != 0);
    }
    EXPECT(n >= 4);
}
