/* SPDX-License-Identifier: Apache-2.0 */
#include "http/name.h"

#include "test.h"

TEST(framing_and_one_hop_belong_to_the_codec)
{
    static const char *const yes[] = {
        "Content-Length", "content_length", "CONTENT.LENGTH", "Transfer-Encoding", "Connection", "Keep-Alive", "TE",
        "te", "Trailer", "Upgrade", "Proxy-Connection", "HTTP2-Settings", "Expect", "Via", "Proxy-Authorization",
    };
    static const char *const no[] = {
        "Host", "Content-Type", "Content-Encoding", "X-Content-Length", "Authorization", "X-Forwarded-For", "Trailers",
        "", "Server", "Date", "T",
    };
    for (size_t i = 0; i < sizeof(yes) / sizeof(yes[0]); i++) {
        test_row("%s", yes[i]);
        EXPECT(http_name_is_reserved(str_c(yes[i])));
    }
    for (size_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
        test_row("%s", no[i]);
        EXPECT(!http_name_is_reserved(str_c(no[i])));
    }
}
